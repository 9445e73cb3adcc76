"""The Korean of charts: their titles, axes, legends, labels and captions."""

from __future__ import annotations

CHARTS: dict[str, str] = {
    # axes, legends, tooltips
    "what it said": "모델의 답",
    "what it is": "실제 클래스",
    "newly wrong": "새로 틀림",
    "newly right": "새로 맞힘",
    "mean probability": "평균 확률",
    "answers that are right": "맞힌 비율",
    "photos": "사진 수",
    "top-1 accuracy, %": "top-1 정확도(%)",
    "candidate": "후보",
    "parameter": "세기 값",
    "top-1 %": "top-1(%)",
    "drop, points": "정확도 하락(%p)",
    "probability given to the answer": "답에 부여한 확률",
    "level (0: as it is)": "단계(0: 원본)",
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
    "fp32 − {margin} points": "fp32 − {margin}%p",
    "variant": "변형",
    "runtime": "런타임",
    "batch size, photos": "배치 크기(장)",
    "photos per second": "초당 처리 사진 수",
    "p50 ms": "p50(ms)",
    "p99 ms": "p99(ms)",
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
    "median time of one photo, ms (log)": "사진 한 장의 처리 시간 중앙값(ms, 로그 축)",
    "milliseconds per photo": "사진 한 장당 시간(ms)",
    "JPEG": "JPEG 압축",
    "blur": "흐림",
    "noise": "잡음",
    "brightness": "밝기",
    "rotation": "회전",
    # titles of panels
    "one photo at a time": "한 번에 한 장",
    "each candidate's best batch (× photos)": "후보별로 가장 빠른 배치 크기(× 장)",
    "{key}: {count} photos wrong": "{key}: 오답 {count}장",
    "{key}: ECE {ece}": "{key}: ECE {ece}",
    # what they show
    "Top-1 accuracy against the median time of one photo": "사진 한 장의 처리 시간 중앙값에 따른 top-1 정확도",
    "Photos per second against the batch size": "배치 크기에 따른 초당 처리 사진 수",
    "Where the time goes, by candidate": "후보별 소요 시간의 구성",
    "Photos of each class that changed to wrong or right": "클래스별로 정답 여부가 바뀐 사진 수",
    "Confusion matrix": "혼동 행렬",
    "Share of right answers against the probability given": "부여한 확률에 따른 정답 비율",
    "Top-1 accuracy against the strength of a corruption": "사진이 나빠진 정도에 따른 top-1 정확도",
    "Divergence from fp32 of each range method": "범위 결정 방법별 fp32와의 차이",
    "What each layer alone costs": "층 하나만 8비트로 바꿀 때의 비용",
    "Loss by epoch": "에포크별 손실",
    "Accuracy by epoch": "에포크별 정확도",
    "Top-1 accuracy of all bundles against the median time of one photo": (
        "사진 한 장의 처리 시간 중앙값에 따른 모든 번들의 top-1 정확도"
    ),
    # captions
    "Up and left is better. Bars: {confidence} intervals. Thin line: what no other candidate beats in both. Dashed: the "
    "gate's margin; its verdict comes from the paired drop, not from these bars.": (
        "왼쪽 위로 갈수록 좋습니다. 막대: {confidence} 신뢰 구간. 가는 선: 속도와 정확도 모두에서 앞서는 다른 후보가 없는 "
        "점들. 파선: 판정의 허용 한계. 판정은 이 막대가 아니라 같은 사진을 짝지어 비교한 정확도 하락으로 내립니다."
    ),
    "Up and left is better. Bars: intervals. Thin line: what no other candidate beats in both.": (
        "왼쪽 위로 갈수록 좋습니다. 막대: 신뢰 구간. 가는 선: 속도와 정확도 모두에서 앞서는 다른 후보가 없는 점들."
    ),
    "More photos at once: more per second, until the cores are busy. The network alone, from memory.": (
        "한 번에 더 많은 사진을 넣으면 코어가 모두 바빠질 때까지 초당 처리량이 늘어납니다. 메모리에 있는 입력으로 신경망만 "
        "측정했습니다."
    ),
    "From the JPEG file to the label: decode it, prepare the batch, run the network, read the answer. Medians of each, so "
    "that they need not add up to the whole's.": (
        "JPEG 파일에서 라벨까지: 디코딩, 배치 준비, 추론, 후처리. 각각의 중앙값이므로 합이 전체의 중앙값과 다를 수 있습니다."
    ),
    "Photos that fp32 had right and the candidate lost, and the other way round. Other classes: none.": (
        "fp32는 맞혔으나 후보가 틀린 사진과 그 반대의 사진입니다. 나머지 클래스에는 없습니다."
    ),
    "Mistakes are coloured, the stronger the more.": "오답에만 색을 칠했으며, 많을수록 진합니다.",
    "On the dashed line, a probability means what it says; below it, the answers are too sure of themselves. A larger dot: "
    "more photos. ECE: the mean distance from the line, weighted by photos.": (
        "파선 위의 점은 확률이 실제 정답 비율과 같다는 뜻이고, 파선보다 아래이면 답을 지나치게 확신한다는 뜻입니다. 점이 "
        "클수록 사진이 많습니다. ECE: 사진 수로 가중한, 파선까지의 평균 거리."
    ),
    "Does quantization cost more when the photo is bad? Bands: intervals of top-1.": (
        "사진이 나쁘면 양자화의 비용이 더 커지는지 보여 줍니다. 띠: top-1의 신뢰 구간."
    ),
    "Cross-entropy; training's is on augmented photos. Dashed: the epoch that was kept.": (
        "교차 엔트로피. 학습 손실은 증강한 사진으로 계산했습니다. 파선: 채택한 에포크."
    ),
    "Training's is on augmented photos, so it may lie below validation's.": (
        "학습 정확도는 증강한 사진으로 계산하므로 검증 정확도보다 낮을 수 있습니다."
    ),
    "Each method as a whole int8 model, on held-out photos. Shorter is closer to fp32.": (
        "각 방법으로 int8 모델 전체를 만들어 따로 떼어 둔 사진으로 비교했습니다. 짧을수록 fp32에 가깝습니다."
    ),
    "Divergence of the answers on {images} photos when only that layer is 8-bit; the most sensitive first.": (
        "그 층만 8비트로 바꾸었을 때 사진 {images}장에 대한 답의 차이. 가장 민감한 층부터 표시합니다."
    ),
}
