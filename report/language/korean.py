"""The Korean texts of a report by their English. Names of commands, classes, files and options are not translated.

Places in braces are those of the English text. Particles that depend on the sound of an inserted word are avoided.
"""

from __future__ import annotations

from vegrt.report.language.korean_card import CARD
from vegrt.report.language.korean_charts import CHARTS

_VERDICT: dict[str, str] = {
    "REFERENCE": "기준",
    "PASS": "통과",
    "FAIL": "실패",
    "INCONCLUSIVE": "판단 보류",
    "UNKNOWN": "미확인",
    "File to ship:": "배포할 파일:",
    "Accuracy:": "정확도:",
    "Speed:": "속도:",
    "Size:": "크기:",
    "Noisy times:": "불안정한 측정:",
    "Other candidates:": "나머지 후보:",
    "Export:": "내보내기:",
    "{variant} on {runtime}": "{runtime}의 {variant}",
    "{name} keeps the accuracy of {reference}": "{name} 모델이 {reference}의 정확도를 유지합니다",
    "No candidate is proven to keep the accuracy of {reference}": (
        "{reference}의 정확도를 유지한다고 입증된 후보가 없습니다"
    ),
    "No candidate keeps the accuracy of {reference}": "{reference}의 정확도를 유지하는 후보가 없습니다",
    "Nothing has been evaluated yet": "아직 평가하지 않았습니다",
    "Only {variant} has been evaluated": "{variant}만 평가했습니다",
    "The speed was measured, but not the accuracy. Run: {command}": (
        "속도는 측정했지만 정확도는 아직 평가하지 않았습니다. 실행할 명령: {command}"
    ),
    "No other variant to compare. Export the variants, then run: {command}": (
        "비교할 다른 변형이 없습니다. 변형을 내보낸 뒤 실행할 명령: {command}"
    ),
    "{reason}. {flips} of {images} test photos changed their answer.": (
        "{reason}. 테스트 사진 {images}장 중 {flips}장에서 답이 바뀌었습니다."
    ),
    "{name}: {text}": "{name}: {text}",
    "the other candidates are compared with it": "다른 후보의 비교 기준",
    "drop {span}": "정확도 하락 {span}",
    "from the checkpoint to the reference: {span}": "체크포인트와 기준 모델 사이의 {span}",
    "{value} points, {confidence} interval {low} to {high}": "{value}%p, {confidence} 신뢰 구간 {low} ~ {high}",
    "the margin of {points} points": "허용 한계 {points}%p",
    "{margin} (the smallest that {images} photos can decide)": (
        "{margin}(사진 {images}장으로 판정할 수 있는 가장 작은 값)"
    ),
    "{span}, entirely below {margin}": "{span}, 구간 전체가 {margin}보다 작음",
    "{span}, entirely above {margin}": "{span}, 구간 전체가 {margin}보다 큼",
    "{span}, which includes {margin}": "{span}, 구간 안에 {margin} 포함",
    "at these rates about {images} images would decide": "같은 비율이라면 사진 약 {images}장으로 판정할 수 있음",
    "at these rates more images would hardly decide": "같은 비율이라면 사진을 늘려도 판정하기 어려움",
    "{images} photos can decide margins of {points} points or more, set with --margin": (
        "사진 {images}장으로는 {points}%p 이상의 한계만 판정할 수 있음(--margin으로 지정)"
    ),
    "{right} of {photos} photos are right as they are, {right_swapped} with red and blue swapped": (
        "사진 {photos}장 중 원본에서는 {right}, 빨강과 파랑을 바꾸면 {right_swapped}를 맞힘"
    ),
    "{evidence}: it looks like BGR input": "{evidence}: 입력이 BGR인 것으로 보임",
    "answers agree with fp32 on {faults}: {faulty} of {photos}, with fp32 on right pixels: {right} of {photos}": (
        "fp32와 일치하는 답: {faults}에서 {photos}장 중 {faulty}장, 올바른 픽셀에서 {photos}장 중 {right}장"
    ),
    "BGR pixels (red and blue swapped)": "BGR 픽셀(빨강과 파랑이 바뀜)",
    "pixels resized without antialias": "안티앨리어싱 없이 크기를 바꾼 픽셀",
    "pixels resized to the nearest neighbour": "최근접 이웃으로 크기를 바꾼 픽셀",
    "pixels resized by bilinear interpolation": "쌍선형 보간으로 크기를 바꾼 픽셀",
    "pixels resized by bicubic interpolation": "쌍입방 보간으로 크기를 바꾼 픽셀",
    "stretched photos": "가로세로 비율 없이 늘인 사진",
    "photos cropped at the centre": "가운데를 잘라 낸 사진",
    "pixels that are not normalised (0 to 1)": "정규화하지 않은 픽셀(0~1)",
    "pixels normalised to -1 to 1": "-1~1로 정규화한 픽셀",
    "{span}; a wrong class order fails, whatever {margin}": "{span}; {margin}에 관계없이 클래스 순서가 틀리면 실패",
    "answers from {file} (SHA-256 {digest})": "답 파일 {file}(SHA-256 {digest})",
    "answers from {file} (SHA-256 {digest}); figures of probabilities not available: top-1 alone": (
        "답 파일 {file}(SHA-256 {digest}); 확률 지표 없음: top-1만 있음"
    ),
    "Answers of another device:": "다른 장치의 답:",
    "{name}: {verdict}; {reason}; {answers}.": "{name}: {verdict}; {reason}; {answers}.",
    "answers file": "답 파일",
    "other device": "다른 장치",
    "Speed of other devices, as stated by the answers' files; not measured by vegrt": (
        "다른 장치의 속도: 답 파일에 적힌 값이며 vegrt가 측정하지 않음"
    ),
    "the answers look permuted ({moves}): another class order": (
        "답이 뒤바뀐 것으로 보임({moves}): 클래스 순서가 다름"
    ),
    "{truth} is predicted as {answer}": "실제 {truth}, 답 {answer}",
    "{moves} and {more} more": "{moves} 외 {more}개",
    "{figure}, {first} and {second}.": "{figure}, {first}, {second}.",
    "{figure}, {first}.": "{figure}, {first}.",
    "{p50} ms per photo (median)": "사진 한 장당 {p50} ms(중앙값)",
    "{ratio}× as fast as {other}": "{other} 대비 속도 {ratio}배",
    "no faster than {other}": "{other} 대비 빠르지 않음",
    "slower ({ratio}× the speed) than {other}": "{other}보다 느림(속도 {ratio}배)",
    "fp32 on the same runtime": "같은 런타임의 fp32",
    "{size} MB, {ratio} times smaller than {reference}.": "{size} MB, {reference}의 {ratio}분의 1입니다.",
    "not measured.": "측정하지 않았습니다.",
    "the PyTorch checkpoint and the exported fp32 differ on {flips} of {images} test photos.": (
        "PyTorch 체크포인트와 내보낸 fp32의 답은 테스트 사진 {images}장 중 {flips}장에서 다릅니다."
    ),
    "{path} ({candidate})": "{path}({candidate})",
    "{name}, or calibrate again.": "{name}. 또는 보정을 다시 하십시오.",
    "{name} keeps the accuracy of {reference}, but is no faster": (
        "{name} 모델이 {reference}의 정확도를 유지하지만 더 빠르지는 않습니다"
    ),
    "{name}: it is the fastest.": "{name}. 가장 빠릅니다.",
    "{name} runs {network} at {share} of what this CPU can multiply in float32 ({limit} GMAC/s).": (
        "{name}: {network}을(를) 이 CPU가 float32로 할 수 있는 곱셈({limit} GMAC/s)의 {share}로 실행합니다."
    ),
    "{name} runs {network} at {share} of what this CPU can multiply in 8 bits ({limit} GMAC/s).": (
        "{name}: {network}을(를) 이 CPU가 8비트로 할 수 있는 곱셈({limit} GMAC/s)의 {share}로 실행합니다."
    ),
    "Winograd's convolutions save multiplications, so a share may exceed 100%.": (
        "Winograd 합성곱은 곱셈을 줄이므로 비율이 100%를 넘을 수 있습니다."
    ),
    "{rate} photos per second in batches of {batch}": "배치 {batch}장에서 초당 {rate}장",
    "{low} to {high}": "{low} ~ {high}",
    "{reasons}. Repeat vegrt bench on a quiet machine.": (
        "{reasons}. 다른 작업이 없는 장비에서 vegrt bench를 다시 실행하십시오."
    ),
    "other programs used {share} of the cores": "다른 프로그램이 코어의 {share}를 사용함",
    "the load average was {load} on {cores} cores at the start": "시작할 때 코어 {cores}개에 평균 부하 {load}",
    "half of the intervals are wider than {width} of their median": "신뢰 구간의 절반이 중앙값의 {width}보다 넓음",
    "{name}, until the verdict is decided.": "{name}. 판정이 확정될 때까지 사용하십시오.",
}

_SECTIONS: dict[str, str] = {
    # the page itself
    "Deployment report: {names}": "배포 보고서: {names}",
    "Skip to the content": "본문으로 건너뛰기",
    "Contents": "목차",
    "Commands": "명령",
    "Made by vegrt {version} on {time}, from {source} only.": (
        "vegrt {version}에서 {time}에 {source}만으로 만들었습니다."
    ),
    "result files": "결과 파일",
    "property": "항목",
    "All bundles": "전체 번들",
    # comparison, leaks, speed
    "Comparison": "비교",
    "Accuracy, size and speed of every candidate": "모든 후보의 정확도, 크기, 속도",
    "The reference and the chosen candidate of each bundle": "번들별 기준 모델과 선택한 후보",
    "The drop of each bundle is measured against its own fp32.": (
        "정확도 하락은 각 번들의 fp32를 기준으로 측정한 값입니다."
    ),
    "images/s": "장/초",
    "{value} ({low} to {high})": "{value} ({low} ~ {high})",
    "Drop: loss of top-1 accuracy against fp32 on the same {images} photos, with its {confidence} interval.": (
        "정확도 하락: 같은 사진 {images}장에서 fp32보다 낮아진 top-1 정확도와 {confidence} 신뢰 구간."
    ),
    "Gate: PASS if the whole interval lies below the margin of {margin} points.": (
        "판정: 신뢰 구간 전체가 허용 한계 {margin}%p보다 작으면 통과."
    ),
    "{count} of {total} test photos are unreadable and excluded.": (
        "테스트 사진 {total}장 중 {count}장은 읽을 수 없어 제외함."
    ),
    "Not run, so their accuracy is unknown: {files}.": "실행하지 않아 정확도를 알 수 없음: {files}.",
    "Not evaluated yet: {command}.": "아직 평가하지 않음: {command}.",
    "Times: one photo, the network only, {rounds} rounds. images/s: at the fastest batch size.": (
        "시간: 사진 한 장에 대해 신경망만 {rounds}회 측정. 장/초: 가장 빠른 배치 크기에서의 값."
    ),
    "Not measured yet: {command}.": "아직 측정하지 않음: {command}.",
    "Other photo sets": "다른 사진 모음",
    "photo set": "사진 모음",
    "images": "이미지 수",
    "interval, %": "구간(%)",
    "The gate, the verdict above and the choice of vegrt infer use the bundle's own test split only.": (
        "판정 기준, 위의 판정, vegrt infer의 선택은 번들 자체의 테스트 분할만 사용합니다."
    ),
    "Accuracy with and without leaked photos": "누출된 사진을 포함한 정확도와 제외한 정확도",
    "According to the audit, {leaked} of {images} test photos have a near duplicate in train or validation. All "
    "columns except the last cover the other {others}.": (
        "감사 결과 테스트 사진 {images}장 중 {leaked}장은 학습 또는 검증 사진과 거의 같습니다. 마지막 열을 "
        "제외한 모든 열은 나머지 {others}장의 결과입니다."
    ),
    "top-1 %, all": "top-1(%), 전체",
    "top-1 %, clean": "top-1(%), 누출 제외",
    "Accuracy and speed": "정확도와 속도",
    "Load time, memory, and end-to-end time of one photo": "적재 시간, 메모리, 사진 한 장의 전체 처리 시간",
    "load, s": "적재(초)",
    "peak memory, MiB": "최대 메모리(MiB)",
    "JPEG to label, p50 ms": "JPEG에서 라벨까지 p50(ms)",
    "Measured on {machine}, {date}": "측정 장비: {machine}, {date}",
    # answers
    "Results by class": "클래스별 결과",
    "Precision, recall and F1 of {key}; McNemar's test for each class, with Holm's correction over all classes": (
        "{key}의 정밀도, 재현율, F1. 클래스별 McNemar 검정은 모든 클래스에 대해 Holm 방법으로 보정함"
    ),
    "precision %": "정밀도(%)",
    "recall %": "재현율(%)",
    "F1 %, {key}": "F1(%), {key}",
    "p": "p값",
    "p, Holm": "p값(Holm)",
    "Photos with changed answers": "답이 바뀐 사진",
    "The photos are in the HTML report only.": "사진은 HTML 보고서에만 있습니다.",
    "None: every candidate gives the same answer as fp32 on all {images} photos.": (
        "없음: 모든 후보가 사진 {images}장 모두에서 fp32와 같은 답을 냈습니다."
    ),
    "On {flips} of {images} photos at least one candidate gives a different answer from fp32. Photos that most "
    "candidates newly misclassify come first. A percentage is the probability of the answer.": (
        "사진 {images}장 중 {flips}장에서 하나 이상의 후보가 fp32와 다른 답을 냈습니다. 더 많은 후보가 새로 틀린 "
        "사진부터 표시합니다. 백분율은 답의 확률입니다."
    ),
    "In brackets: its lead over the second class, in points.": "괄호 안: 2순위 클래스와의 확률 차이(%p).",
    "The photos are not shown because no data folder was given: add --data DATA.": (
        "데이터 폴더를 지정하지 않아 사진을 표시하지 않습니다. --data DATA를 추가하십시오."
    ),
    "{missing} photos are not shown because they cannot be read in {data}.": (
        "{data}에서 읽을 수 없는 사진 {missing}장은 표시하지 않습니다."
    ),
    "Note: {data} has changed since the evaluation, so a photo may differ from the one that was evaluated.": (
        "참고: 평가 이후 {data}의 내용이 바뀌어, 평가한 사진과 다를 수 있습니다."
    ),
    "and {more} more, in {file}": "그 밖의 {more}장은 {file}에 있습니다",
    "All {rows} rows": "전체 {rows}행",
    "The {shown} of {all} classes with the lowest F1.": "전체 {all}개 클래스 중 F1이 가장 낮은 {shown}개입니다.",
    "The {shown} of {all} classes with the fewest photos.": "전체 {all}개 클래스 중 사진이 가장 적은 {shown}개입니다.",
    "wrong either way": "둘 다 틀림",
    "photo not shown": "사진 없음",
    "photo {name}": "사진 {name}",
    "Most frequent confusions, in photos": "가장 잦은 혼동(사진 수)",
    "Calibration (reliability)": "확률 보정(신뢰도)",
    "Quality of the probabilities": "확률의 품질",
    "top-3 %": "top-3(%)",
    "top-5 %": "top-5(%)",
    "NLL, nats": "NLL(nat)",
    "mean margin": "평균 마진",
    "NLL: negative log-likelihood. ECE: expected calibration error, 15 bins. Brier: mean squared error of the "
    "probabilities. Margin: probability of the first class minus that of the second. Detectable drop: the smallest "
    "drop that this number of photos detects with a power of 80 %.": (
        "NLL: 음의 로그 가능도. ECE: 기대 보정 오차(구간 15개). Brier: 확률의 평균 제곱 오차. 마진: 1순위 "
        "클래스의 확률에서 2순위 클래스의 확률을 뺀 값. 검출 가능한 하락: 이 사진 수로 검정력 80 %에서 검출할 수 "
        "있는 가장 작은 하락."
    ),
    "Changed answers compared with {reference}": "{reference} 대비 바뀐 답",
    "agreement %": "일치율(%)",
    "McNemar p": "McNemar p값",
    "detectable drop, points": "검출 가능한 하락(%p)",
    "Robustness to corrupted photos": "손상된 사진에 대한 강건성",
    "{images} test photos, corrupted at five levels. Each candidate is compared with fp32 on the same corrupted "
    "photo.": (
        "테스트 사진 {images}장을 다섯 단계로 손상시켰습니다. 각 후보를 똑같이 손상된 사진에서 fp32와 비교합니다."
    ),
    "{key} loses more on corrupted photos than on clean ones: {span}": (
        "{key}: 손상된 사진에서 원본 사진보다 정확도가 더 하락함({span})"
    ),
    "{key} loses less on corrupted photos than on clean ones: {span}": (
        "{key}: 손상된 사진에서 원본 사진보다 정확도가 덜 하락함({span})"
    ),
    "{key}: no measurable difference between corrupted and clean photos: {span}": (
        "{key}: 손상된 사진과 원본 사진 사이에 측정할 수 있는 차이가 없음({span})"
    ),
    "Strongest level of each corruption": "손상 종류별 가장 강한 단계",
    "corruption": "손상",
    # training, calibration
    "Training": "학습",
    "{head} epochs of the head on frozen features, then {all} of the whole network.": (
        "특징 추출부를 고정하고 분류기만 {head} 에포크, 이어서 신경망 전체를 {all} 에포크 학습했습니다."
    ),
    "Duration: {minutes} minutes on {device}.": "소요 시간 {minutes}분, 장치: {device}.",
    "an unknown device": "알 수 없는 장치",
    "Int8 calibration": "int8 보정",
    "Range method: {methods}.": "범위 결정 방법: {methods}.",
    "{method} for {encoding} activations": "{encoding} 활성값은 {method}",
    "Ranges from {images} validation photos, compared on {others} others.": (
        "검증 사진 {images}장으로 범위를 정하고 다른 {others}장으로 비교했습니다."
    ),
    "Int8 models with each range method, on held-out photos": (
        "각 범위 결정 방법으로 만든 int8 모델을 따로 떼어 둔 사진으로 비교"
    ),
    "chosen": "선택",
    "stopped after the {images} hardest photos ({reason})": "가장 어려운 사진 {images}장 후 중단 ({reason})",
    "Layers kept in float": "부동소수점으로 남긴 층",
    "layers in float": "부동소수점 층",
    "convolution work in 8 bits": "8비트로 수행하는 합성곱 연산",
    "multiplications in 8 bits": "8비트로 수행하는 곱셈",
    "Outlier channels: with one scale for all channels, few steps are left for the others": (
        "이상치 채널: 모든 채널이 한 배율을 쓰면 나머지 채널에 남는 단계가 적어집니다"
    ),
    "input channel": "입력 채널",
    "its maximum": "그 채널의 최댓값",
    "maximum of the median channel": "중앙값 채널의 최댓값",
    "calibration photos": "보정에 쓴 사진 수",
    "Ranges from fewer photos, compared on {images} others": "더 적은 사진으로 정한 범위를 다른 {images}장으로 비교",
    # photos
    "Photos": "사진",
    "Number of photos by class and split": "클래스와 데이터 분할별 사진 수",
    "all": "전체",
    "No audit of these photos is available: {command}.": "이 사진들에 대한 감사 결과가 없습니다: {command}.",
    "Findings of `vegrt data audit`": "`vegrt data audit` 결과",
    "leaked test photos": "누출된 테스트 사진",
    "{count} of {images}": "{images}장 중 {count}장",
    "near duplicates": "거의 같은 사진",
    "{pairs} pairs, {across} of them across splits": "{pairs}쌍, 그중 {across}쌍은 서로 다른 분할에 있음",
    "scenes with several photos": "사진이 여러 장인 장면",
    "groups of identical files": "내용이 같은 파일 묶음",
    "unreadable files": "읽을 수 없는 파일",
    "photos of an unusual size": "크기가 다른 사진",
    "Leaked: a test photo with a near duplicate in train or validation. A correct answer to it is weak evidence.": (
        "누출: 학습 또는 검증 사진과 거의 같은 테스트 사진. 이런 사진을 맞힌 것은 약한 증거입니다."
    ),
    # environment
    "Engines": "엔진",
    "Engines, with the layers that their builder reports": "엔진과 빌더가 보고한 층",
    "engine": "엔진",
    "layers and build": "층과 빌드",
    "Environment": "환경",
    "Bundle, machines and versions": "번들, 장비, 버전",
    "Artifacts": "산출물",
    "file": "파일",
    "role": "역할",
    "network": "신경망",
    "input": "입력",
    "tools": "사용한 도구",
    "train photos": "학습 사진",
    "validation photos": "검증 사진",
    "test photos": "테스트 사진",
    "evaluated photos": "평가한 사진",
    "fingerprint {hash}": "지문 {hash}",
    "{name}, manifest SHA-256 {hash}": "{name}, 매니페스트 SHA-256 {hash}",
    "evaluation": "평가",
    "robustness": "강건성",
    "benchmark": "벤치마크",
    "How to reproduce": "재현 방법",
    # trust
    "When to trust it": "언제 믿을 수 있는가",
    "{key} accepts none of {photos} test photos: by the validation photos, no answer is sure enough to keep errors "
    "within {limit}.": (
        "{key}: 테스트 사진 {photos}장 중 한 장도 수락하지 않습니다. "
        "검증 사진으로 볼 때 오답을 {limit} 이내로 유지할 만큼 확실한 답이 없습니다."
    ),
    "{key} accepts {accepted} of {photos} test photos, and {errors} of the accepted answers are wrong (limit: {limit}). "
    "The others go to a person.": (
        "{key}: 테스트 사진 {photos}장 중 {accepted}를 수락하며, 수락한 답 중 오답은 {errors}입니다(한도: {limit}). "
        "나머지는 사람이 확인합니다."
    ),
    "Of {photos} photos of foreign objects it accepts {accepted}.": (
        "클래스에 없는 물체의 사진 {photos}장 중에서는 {accepted}장을 수락합니다."
    ),
    "Of {photos} photos from elsewhere {right} are answered right; it accepts {accepted}, and {errors} of these are "
    "wrong.": (
        "다른 곳에서 찍은 사진 {photos}장에서는 {right}를 맞힙니다. 그중 {accepted}장을 수락하며, "
        "수락한 답 중 오답은 {errors}장입니다."
    ),
    "temperature": "온도",
    "ECE after it, %": "보정 후 ECE(%)",
    "accepted %": "수락(%)",
    "95 % sets cover, %": "95 % 집합의 포함률(%)",
    "classes in a set": "집합의 클래스 수",
    "foreign: AUROC": "외부 물체: AUROC",
    "foreign: passed at 95 % kept, %": "외부 물체: 95 % 유지 시 통과(%)",
    "errors among them, %": "그중 오답(%)",
    "Trust of each candidate": "후보별 신뢰도",
    "Thresholds and temperature were learned on the validation split. AURC: area under the risk-coverage curve, lower is "
    "better. Foreign: AUROC of the score against the test photos, and the share of foreign photos below the threshold "
    "that keeps 95 % of the test photos. Guarantees hold for photos like those of the validation split, not for photos "
    "from elsewhere.": (
        "임계값과 온도는 검증 데이터에서 정했습니다. AURC: 위험-수락률 곡선 아래의 넓이로, 낮을수록 좋습니다. "
        "외부 물체: 테스트 사진에 대한 점수의 AUROC, 그리고 테스트 사진의 95 %를 유지하는 임계값 아래에 있는 "
        "외부 사진의 비율. 보장은 검증 데이터와 비슷한 사진에만 성립하며, 다른 곳에서 찍은 사진에는 성립하지 않습니다."
    ),
}

KOREAN: dict[str, str] = {**_VERDICT, **_SECTIONS, **CHARTS, **CARD}
