"""The Korean texts of the charts: titles, axes, legends, labels and captions."""

from __future__ import annotations

CHARTS: dict[str, str] = {
    # axes, legends, tooltips
    "answer": "예측 클래스",
    "true class": "실제 클래스",
    "newly wrong": "새로 틀림",
    "newly right": "새로 맞힘",
    "mean predicted probability": "평균 예측 확률",
    "accuracy": "정확도",
    "photos": "사진 수",
    "top-1 accuracy, %": "top-1 정확도(%)",
    "candidate": "후보",
    "parameter": "세기 값",
    "top-1 %": "top-1(%)",
    "drop, points": "정확도 하락(%p)",
    "predicted probability": "예측 확률",
    "level (0: clean)": "단계(0: 원본)",
    "none": "없음",
    "class": "클래스",
    "change": "변화",
    "epoch": "에포크",
    "head alone": "분류기만",
    "all layers": "전체 층",
    "layer": "층",
    "activations": "활성값",
    "flips": "바뀐 답",
    "signal to noise, dB": "신호 대 잡음비(dB)",
    "method": "방법",
    "agreement with fp32": "fp32와의 일치율",
    "phase": "단계",
    "split": "데이터",
    "value": "값",
    "train": "학습",
    "validation": "검증",
    "test": "테스트",
    "cross-entropy": "교차 엔트로피",
    "cross-entropy (log)": "교차 엔트로피(로그 축)",
    "accuracy, %": "정확도(%)",
    "KL divergence of the answers, nats": "답의 KL 발산(nat)",
    "KL, nats": "KL(nat)",
    "fp32 − {margin} points": "fp32보다 {margin}%p 아래",
    "variant": "변형",
    "runtime": "런타임",
    "batch size, photos": "배치 크기(장)",
    "photos per second": "초당 처리 사진 수",
    "p50 ms": "p50(ms)",
    "p99 ms": "p99(ms)",
    "limit in float32": "float32 한계",
    "limit in 8 bits": "8비트 한계",
    "decode": "디코딩",
    "prepare": "배치 준비",
    "run": "추론",
    "post-process": "후처리",
    "stage": "단계별 작업",
    "ms": "ms",
    "p50 ms, lower end": "p50 하한(ms)",
    "p50 ms, upper end": "p50 상한(ms)",
    "top-1 %, lower end": "top-1 하한(%)",
    "top-1 %, upper end": "top-1 상한(%)",
    "gate": "판정",
    "bundle": "번들",
    "median latency of one photo, ms (log)": "사진 한 장의 지연 시간 중앙값(ms, 로그 축)",
    "milliseconds per photo": "사진 한 장당 시간(ms)",
    "JPEG": "JPEG 압축",
    "blur": "흐림",
    "noise": "잡음",
    "brightness": "밝기",
    "rotation": "회전",
    # titles of panels
    "one photo at a time": "한 번에 한 장",
    "best batch size of each candidate (× photos)": "후보별로 가장 빠른 배치 크기(× 장)",
    "{key}: {count} photos wrong": "{key}: 오답 {count}장",
    "{key}: ECE {ece}": "{key}: ECE {ece}",
    # what they show
    "Top-1 accuracy against median latency of one photo": "사진 한 장의 지연 시간 중앙값에 따른 top-1 정확도",
    "Photos per second against batch size": "배치 크기에 따른 초당 처리 사진 수",
    "Time of each stage, by candidate": "후보별 각 단계의 소요 시간",
    "Newly wrong and newly right photos by class": "클래스별로 새로 틀린 사진과 새로 맞힌 사진",
    "Confusion matrix": "혼동 행렬",
    "Reliability diagram: accuracy against predicted probability": "신뢰도 다이어그램: 예측 확률에 따른 정확도",
    "Top-1 accuracy against corruption level": "손상 단계에 따른 top-1 정확도",
    "Divergence from fp32 by range method": "범위 결정 방법별 fp32와의 차이",
    "Sensitivity to quantization by layer": "층별 양자화 민감도",
    "Loss by epoch": "에포크별 손실",
    "Accuracy by epoch": "에포크별 정확도",
    "Top-1 accuracy of all bundles against median latency of one photo": (
        "사진 한 장의 지연 시간 중앙값에 따른 모든 번들의 top-1 정확도"
    ),
    # captions
    "Up and left is better. Bars: {confidence} intervals. Thin line: Pareto front. Dashed line: the gate's margin; "
    "the gate compares the same photos in pairs, so its verdict does not follow from these bars.": (
        "왼쪽 위로 갈수록 좋습니다. 막대: {confidence} 신뢰 구간. 가는 선: 파레토 경계. 파선: 판정의 허용 한계. "
        "판정은 같은 사진을 짝지어 비교하므로 이 막대로 결정되지 않습니다."
    ),
    "Up and left is better. Bars: intervals. Thin line: Pareto front.": (
        "왼쪽 위로 갈수록 좋습니다. 막대: 신뢰 구간. 가는 선: 파레토 경계."
    ),
    "The network only, with its input in memory. Larger batches help until all cores are busy.": (
        "입력을 메모리에 둔 채 신경망만 측정했습니다. 배치가 클수록 모든 코어가 포화될 때까지 처리량이 늘어납니다."
    ),
    "Dashed lines: what the CPU can multiply, as photos per second of this network.": (
        "파선: CPU의 곱셈 한계를 이 신경망의 초당 처리 사진 수로 나타낸 값."
    ),
    "From the JPEG file to the label: decode the file, prepare the batch, run the network, post-process the output. "
    "Each value is a median, so their sum may differ from the end-to-end median.": (
        "JPEG 파일에서 라벨까지: 파일 디코딩, 배치 준비, 추론, 후처리. 각 값이 중앙값이므로 그 합은 전체 시간의 "
        "중앙값과 다를 수 있습니다."
    ),
    "Newly wrong: fp32 is right and the candidate is wrong. Newly right: the reverse. Classes without changes are "
    "not shown.": (
        "새로 틀림: fp32는 맞혔으나 후보가 틀린 사진. 새로 맞힘: 그 반대. 변화가 없는 클래스는 표시하지 않습니다."
    ),
    "The {shown} of {all} classes with the most changes.": "변화가 있는 {all}개 클래스 중 가장 많은 {shown}개입니다.",
    "The {shown} of {all} classes with the most mistakes.": "전체 {all}개 클래스 중 오답이 가장 많은 {shown}개입니다.",
    "Only mistakes are coloured; a stronger colour means more photos.": (
        "오답에만 색을 칠했으며, 사진이 많을수록 색이 진합니다."
    ),
    "On the dashed line, the predicted probability equals the accuracy; below it, the model is overconfident. Larger "
    "dots: more photos. ECE: mean distance from the line, weighted by photos.": (
        "파선 위에서는 예측 확률이 정확도와 같고, 파선보다 아래이면 모델이 과신합니다. 점이 클수록 사진이 "
        "많습니다. ECE: 사진 수로 가중한, 파선까지의 평균 거리."
    ),
    "Shows whether quantization loses more on corrupted photos. Bands: intervals of top-1.": (
        "손상된 사진에서 양자화에 따른 손실이 더 커지는지 보여 줍니다. 띠: top-1의 신뢰 구간."
    ),
    "Cross-entropy; training loss on augmented photos. Dashed line: the selected epoch.": (
        "교차 엔트로피. 학습 손실은 증강한 사진으로 계산했습니다. 파선: 선택한 에포크."
    ),
    "Training accuracy is measured on augmented photos and may be lower than validation accuracy.": (
        "학습 정확도는 증강한 사진으로 측정하므로 검증 정확도보다 낮을 수 있습니다."
    ),
    "Complete int8 models on held-out photos. A shorter bar is closer to fp32.": (
        "완전한 int8 모델을 따로 떼어 둔 사진으로 비교했습니다. 막대가 짧을수록 fp32에 가깝습니다."
    ),
    "Divergence of the outputs on {images} photos with only that layer in 8 bits; the most sensitive first.": (
        "그 층만 8비트로 바꾸었을 때 사진 {images}장에 대한 출력의 차이. 가장 민감한 층부터 표시합니다."
    ),
    "accepted photos, the most probable answers first, %": "수락한 사진의 비율, 확률이 높은 답부터(%)",
    "To the left only the most probable answers are accepted. A lower line is better.": (
        "왼쪽일수록 확률이 가장 높은 답만 수락합니다. 선이 낮을수록 좋습니다."
    ),
    "Errors among accepted photos against the share of accepted photos": "수락한 사진의 비율에 따른 오답률",
}
