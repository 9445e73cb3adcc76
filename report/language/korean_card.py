"""The Korean texts of the model card."""

from __future__ import annotations

CARD: dict[str, str] = {
    "An image classifier with {count} classes ({classes}). Network: {backbone}. Input: an RGB photo of {width}x{height} "
    "pixels as uint8; all further steps are part of the file.": (
        "클래스 {count}개의 이미지 분류기({classes}). 신경망: {backbone}. 입력: {width}x{height} 화소의 uint8 RGB "
        "사진 한 장. 이후의 모든 처리는 파일에 포함되어 있습니다."
    ),
    "unknown": "알 수 없음",
    "Intended use": "용도",
    "Classify photos that show one of these {count} classes each, on a server or an edge device.": (
        "클래스 {count}개 중 하나가 찍힌 사진을 서버나 엣지 장치에서 분류합니다."
    ),
    "Not for photos of anything else: the model cannot reject a photo and always answers with the most similar "
    "class. Not for decisions about people's health or safety.": (
        "다른 대상을 찍은 사진에는 사용할 수 없습니다. 이 모델은 사진을 거부하지 못하고 항상 가장 비슷한 "
        "클래스를 답합니다. 사람의 건강이나 안전에 관한 결정에 사용하지 마십시오."
    ),
    "How to run it": "실행 방법",
    "Evaluation": "평가",
    "Times were measured on {machine}, {date}.": "시간 측정 장비: {machine}, {date}.",
    "{leaked} of {images} test photos have a near duplicate in train or validation. Without them, the top-1 accuracy "
    "of {key} is {clean} % instead of {whole} %.": (
        "테스트 사진 {images}장 중 {leaked}장은 학습 또는 검증 사진과 거의 같습니다. 이를 제외하면 {key}의 top-1 "
        "정확도는 {whole} %가 아니라 {clean} %입니다."
    ),
    "Training settings": "학습 설정",
    "validation accuracy": "검증 정확도",
    "device": "장치",
    "Quantization": "양자화",
    "Post-training quantization with explicit Q/DQ: weights per channel, activations per tensor. Ranges from "
    "{images} validation photos, never from test photos.": (
        "명시적 Q/DQ를 쓰는 학습 후 양자화: 가중치는 채널별, 활성값은 텐서별. 범위는 검증 사진 {images}장으로 "
        "정했으며 테스트 사진은 쓰지 않았습니다."
    ),
    "The network was fine-tuned with quantization-aware training.": (
        "양자화 인식 학습으로 신경망을 미세 조정했습니다."
    ),
    "Share of the network in 8 bits": "신경망에서 8비트가 차지하는 비율",
    "Limits": "한계",
    "The model was evaluated on photos similar to its training photos. Other cameras, lighting and places were not "
    "tested.": (
        "이 모델은 학습 사진과 비슷한 사진으로 평가했습니다. 다른 카메라, 조명, 장소에서는 시험하지 않았습니다."
    ),
    "Robustness to blurred, dark or rotated photos was not measured.": (
        "흐리거나 어둡거나 회전한 사진에 대한 강건성은 측정하지 않았습니다."
    ),
    "Test photos were not checked for near duplicates in train.": (
        "테스트 사진과 거의 같은 사진이 학습 데이터에 있는지 확인하지 않았습니다."
    ),
    "A TensorRT engine runs only on the GPU type and TensorRT version that it was built for.": (
        "TensorRT 엔진은 빌드할 때 지정한 GPU 종류와 TensorRT 버전에서만 실행됩니다."
    ),
    "PASS means: on {images} test photos, the {confidence} interval of the accuracy lost against fp32 lies below "
    "{margin} points. It does not rate the accuracy of fp32 itself.": (
        "통과의 뜻: 테스트 사진 {images}장에서 fp32 대비 정확도 하락의 {confidence} 신뢰 구간이 {margin}%p보다 "
        "작습니다. fp32 자체의 정확도를 평가하지는 않습니다."
    ),
    "Files": "파일 목록",
}
