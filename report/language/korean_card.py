"""The Korean of the model card."""

from __future__ import annotations

CARD: dict[str, str] = {
    "An image classifier of {count} classes ({classes}). Network: {backbone}. Input: one RGB photo of {size}x{size} pixels "
    "as uint8; everything after that is in the file.": (
        "클래스 {count}개의 이미지 분류기({classes}). 신경망: {backbone}. 입력: {size}x{size} 화소의 uint8 RGB 사진 한 장. "
        "그 이후의 처리는 모두 파일 안에 있습니다."
    ),
    "unknown": "알 수 없음",
    "Intended use": "용도",
    "To tell photos of these {count} classes apart, on a server or on an edge device, where each photo shows one of them.": (
        "서버나 엣지 장치에서, 사진마다 한 클래스가 찍혀 있을 때 이 클래스 {count}개를 구별합니다."
    ),
    "Not for photos of anything else: it has no answer for that, and names the class that is least unlike. Not for decisions "
    "about people's health or safety.": (
        "다른 것을 찍은 사진에는 쓸 수 없습니다. 모른다는 답이 없으므로 가장 비슷한 클래스를 답합니다. 사람의 건강이나 "
        "안전에 관한 결정에 사용하지 마십시오."
    ),
    "How to run it": "실행 방법",
    "Evaluation": "평가",
    "Times were measured on {machine}, {date}.": "시간 측정 장비: {machine}, {date}.",
    "{leaked} of {images} test photos have a near duplicate in train or validation. Without them, {key} reaches {clean} % "
    "instead of {whole} %.": (
        "테스트 사진 {images}장 중 {leaked}장은 학습 또는 검증 사진과 거의 같습니다. 이를 제외하면 {key}의 정확도는 {whole} "
        "%가 아니라 {clean} %입니다."
    ),
    "The recipe": "학습 설정",
    "validation accuracy": "검증 정확도",
    "device": "장치",
    "Quantization": "양자화",
    "Post-training quantization with explicit Q/DQ: weights per channel, activations per tensor. Ranges from {images} "
    "validation photos, never from test photos.": (
        "명시적 Q/DQ를 쓰는 학습 후 양자화: 가중치는 채널별, 활성값은 텐서별. 범위는 검증 사진 {images}장으로 정했으며 "
        "테스트 사진은 쓰지 않았습니다."
    ),
    "The network was trained further with simulated quantization.": "양자화를 모사하며 신경망을 추가로 학습했습니다.",
    "What is in 8 bits": "8비트로 바꾼 부분",
    "Limits": "한계",
    "It was judged on photos like those that it learned from. Other cameras, light and places were not measured.": (
        "학습에 쓴 것과 비슷한 사진으로 평가했습니다. 다른 카메라, 조명, 장소에서는 측정하지 않았습니다."
    ),
    "How it takes blurred, dark or rotated photos was not measured.": (
        "흐리거나 어둡거나 회전한 사진에서의 성능은 측정하지 않았습니다."
    ),
    "Whether test photos have near duplicates in train was not checked.": (
        "테스트 사진과 거의 같은 사진이 학습 데이터에 있는지는 확인하지 않았습니다."
    ),
    "A TensorRT engine runs only on the kind of GPU and the version that it was built for.": (
        "TensorRT 엔진은 빌드 대상이었던 종류의 GPU와 버전에서만 실행됩니다."
    ),
    "PASS means: on {images} test photos, the {confidence} interval of the accuracy lost against fp32 lies below {margin} "
    "points. It says nothing of the accuracy of fp32 itself.": (
        "통과의 뜻: 테스트 사진 {images}장에서 fp32 대비 정확도 하락의 {confidence} 신뢰 구간이 {margin}%p보다 작습니다. "
        "fp32 자체의 정확도를 보증하지는 않습니다."
    ),
    "Files": "파일 목록",
}
