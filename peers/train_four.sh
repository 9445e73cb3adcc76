#!/bin/sh
# Makes four bundles for end_to_end.py: ResNet18, VGG16, ResNet50 and MobileNetV2 for 224 x 224 pixels, only the heads trained.
#
#   sh peers/train_four.sh DATA WEIGHTS OUT
#
# DATA: folder with train/, validation/ and test/. WEIGHTS: folder with NAME.safetensors. OUT: folder for the bundles.
# Photos pass through the frozen backbone once, so that 20 epochs of the head take seconds. Evaluation ends with 3 or 4 where
# the gate does not pass; the candidates that did pass count.
set -eu
data=$1 weights=$2 out=$3
for name in resnet18 vgg16 resnet50 mobilenet_v2; do
  vegrt train --data "$data" --backbone $name --weights "$weights/$name.safetensors" --epochs 0 --views 1 \
    --runs "$out/runs.db" --out "$out/$name"
  vegrt export "$out/$name" --data "$data" --no-engine
  vegrt evaluate "$out/$name" --data "$data" || [ $? -eq 3 ] || [ $? -eq 4 ]
  vegrt bench "$out/$name"
done
