"""Where every network comes from, and under which names its authors published weights: plain data.

The one place for these facts: `kyb info`, `kyb list`, the docstrings and the pages of the zoo show them.
"""

from __future__ import annotations

import dataclasses

from keras_yolo_backbones.families.frame.release import Origin, Published
from keras_yolo_backbones.preprocessing import BGR_PIXELS, RGB_PIXELS, Preprocessing


def _named(
    sizes: str, *patterns: str, image_size: int = 640, activations: tuple[str, ...] = ()
) -> dict[str, Published]:
    """Sizes whose files are called alike."""
    return {
        size: Published(tuple(pattern.format(size) for pattern in patterns), image_size, activations)
        for size in sizes.split()
    }


DARKNET_V3 = Origin(
    project="Darknet",
    url="https://github.com/AlexeyAB/darknet",
    version="59596d7880f6504768df41d6daa586f5cb2b932f",
    licence="LicenseRef-YOLO-2",
    weights_licence="LicenseRef-YOLO-2",
    paper="YOLOv3: An Incremental Improvement, arXiv:1804.02767",
)
DARKNET_V3_NETWORKS = {
    "base": Published(("yolov3.weights", "darknet53.conv.74"), image_size=416),
    "spp": Published(("yolov3-spp.weights",), image_size=608),
    "tiny": Published(("yolov3-tiny.weights", "yolov3-tiny.conv.11"), image_size=416),
}

TORCH_V3 = dataclasses.replace(
    DARKNET_V3,
    project="Ultralytics YOLOv3",
    url="https://github.com/ultralytics/yolov3",
    version="97b87b1347d6d927d27227d2225140da38e4d308",
    licence="AGPL-3.0",
    weights_licence="AGPL-3.0",
)
TORCH_V3_NETWORKS = {"base": Published(("yolov3.pt",))} | _named("spp tiny", "yolov3-{}.pt")

V3U = dataclasses.replace(TORCH_V3, url="https://github.com/ultralytics/ultralytics", version="8.4.190")
V3U_NETWORKS = {"base": Published(("yolov3u.pt",))} | _named("spp tiny", "yolov3-{}u.pt")

DARKNET_V4 = dataclasses.replace(
    DARKNET_V3, paper="YOLOv4: Optimal Speed and Accuracy of Object Detection, arXiv:2004.10934"
)
DARKNET_V4_NETWORKS = {
    "base": Published(("yolov4.weights", "yolov4.conv.137"), 608, activations=("mish", "leaky_relu")),
    "tiny": Published(("yolov4-tiny.weights", "yolov4-tiny.conv.29"), 416, activations=("leaky_relu",)),
    "csp": Published(("yolov4-csp.weights", "yolov4-csp.conv.142"), 512),
}

SCALED_V4 = Origin(
    project="ScaledYOLOv4",
    url="https://github.com/WongKinYiu/ScaledYOLOv4",
    version="676800364a3446900b9e8407bc880ea2127b3415",
    licence="GPL-3.0",
    weights_licence="GPL-3.0",
    paper="Scaled-YOLOv4: Scaling Cross Stage Partial Network, arXiv:2011.08036",
)
SCALED_V4_NETWORKS = {
    "p5": Published(("yolov4-p5.pt",), 896),
    "p6": Published(("yolov4-p6.pt",), 1280),
    "p7": Published(("yolov4-p7.pt",), 1536),
}

V5 = Origin(
    project="Ultralytics YOLOv5",
    url="https://github.com/ultralytics/yolov5",
    version="7.0",
    licence="GPL-3.0",
    weights_licence="GPL-3.0",
)
V5_5_0 = dataclasses.replace(V5, version="5.0")
V5_NETWORKS = _named("n s m l x", "yolov5{}.pt") | _named("n6 s6 m6 l6 x6", "yolov5{}.pt", image_size=1280)

V6 = Origin(
    project="YOLOv6",
    url="https://github.com/meituan/YOLOv6",
    version="e86a483f3f6bded25d45970b56831345a99744a4",
    licence="GPL-3.0",
    weights_licence="GPL-3.0",
    paper="YOLOv6: A Single-Stage Object Detection Framework for Industrial Applications, arXiv:2209.02976",
)
V6_NETWORKS = {
    **_named("n s m", "yolov6{}.pt"),
    **_named("l", "yolov6{}.pt", activations=("silu",)),
    **_named("n6 s6 m6", "yolov6{}.pt", image_size=1280),
    **_named("l6", "yolov6{}.pt", image_size=1280, activations=("silu",)),
}

V6_LITE_NETWORKS = _named("s m l", "yolov6lite_{}.pt", image_size=320, activations=("hard_swish", "relu"))
V6_MBLA_NETWORKS = _named("s m l x", "yolov6{}_mbla.pt", activations=("silu",))

V7 = Origin(
    project="YOLOv7",
    url="https://github.com/WongKinYiu/yolov7",
    version="a207844b1ce82d204ab36d87d496728d3d2348e7",
    licence="GPL-3.0",
    weights_licence="GPL-3.0",
    paper="YOLOv7: Trainable bag-of-freebies sets new state-of-the-art for real-time object detectors, "
    "arXiv:2207.02696",
)
V7_NETWORKS = {
    "tiny": Published(("yolov7-tiny.pt",), activations=("leaky_relu",)),
    "base": Published(("yolov7.pt", "yolov7_training.pt")),
    "x": Published(("yolov7x.pt", "yolov7x_training.pt")),
    **_named("w6 e6 d6 e6e", "yolov7-{}.pt", "yolov7-{}_training.pt", image_size=1280),
}

V8 = Origin(
    project="Ultralytics YOLOv8",
    url="https://github.com/ultralytics/ultralytics",
    version="8.4.190",
    licence="AGPL-3.0",
    weights_licence="AGPL-3.0",
)
V8_NETWORKS = _named("n s m l x", "yolov8{}.pt")
V8_CLS_NETWORKS = _named("n s m l x", "yolov8{}-cls.pt", image_size=224)

V9 = Origin(
    project="YOLOv9",
    url="https://github.com/WongKinYiu/yolov9",
    version="5b1ea9a8b3f0ffe4fe0e203ec6232d788bb3fcff",
    licence="GPL-3.0",
    weights_licence="GPL-3.0",
    paper="YOLOv9: Learning What You Want to Learn Using Programmable Gradient Information, arXiv:2402.13616",
)
V9_MIT = dataclasses.replace(
    V9,
    project="MultimediaTechLab YOLO",
    url="https://github.com/MultimediaTechLab/YOLO",
    version="c4cb5f6f56102eceeaa7d75e23e1125cd0373eaf",
    licence="MIT",
    weights_licence="MIT",
)
V9_NETWORKS = _named("t s m c e", "yolov9{}.pt", "yolov9-{}-converted.pt")

V10 = Origin(
    project="YOLOv10",
    url="https://github.com/THU-MIG/yolov10",
    version="ultralytics 8.4.190",
    licence="AGPL-3.0",
    weights_licence="AGPL-3.0",
    paper="YOLOv10: Real-Time End-to-End Object Detection, arXiv:2405.14458",
)
V10_NETWORKS = _named("n s m b l x", "yolov10{}.pt")

V11 = dataclasses.replace(V8, project="Ultralytics YOLO11")
V11_NETWORKS = _named("n s m l x", "yolo11{}.pt")
V11_CLS_NETWORKS = _named("n s m l x", "yolo11{}-cls.pt", image_size=224)

V12 = Origin(
    project="YOLOv12",
    url="https://github.com/sunsmarterjie/yolov12",
    version="ultralytics 8.4.190",
    licence="AGPL-3.0",
    weights_licence="AGPL-3.0",
    paper="YOLOv12: Attention-Centric Real-Time Object Detectors, arXiv:2502.12524",
)
V12_NETWORKS = _named("n s m l x", "yolo12{}.pt")
V12_CLS_NETWORKS = _named("n s m l x", image_size=224)

V12_TURBO = dataclasses.replace(V12, version="d3cbe103b992ff6dd20c722e84e1b6f18f4c5efc")
V12_TURBO_NETWORKS = _named("n s m l x", "yolov12{}.pt")

V13 = Origin(
    project="YOLOv13",
    url="https://github.com/iMoonLab/yolov13",
    version="80e8223143269c1f9c5eb7a470e10b2ddfc98155",
    licence="AGPL-3.0",
    weights_licence="AGPL-3.0",
    paper="YOLOv13: Real-Time Object Detection with Hypergraph-Enhanced Adaptive Visual Perception, arXiv:2506.17733",
)
V13_NETWORKS = _named("n s l x", "yolov13{}.pt")

V26 = dataclasses.replace(V8, project="Ultralytics YOLO26")
V26_NETWORKS = _named("n s m l x", "yolo26{}.pt")
V26_CLS_NETWORKS = _named("n s m l x", "yolo26{}-cls.pt", image_size=224)

YOLOX = Origin(
    project="YOLOX",
    url="https://github.com/Megvii-BaseDetection/YOLOX",
    version="6ddff4824372906469a7fae2dc3206c7aa4bbaee",
    licence="Apache-2.0",
    weights_licence="Apache-2.0",
    paper="YOLOX: Exceeding YOLO Series in 2021, arXiv:2107.08430",
)
YOLOX_NETWORKS = {
    **_named("nano tiny", "yolox_{}.pth", image_size=416),
    **_named("s m l x", "yolox_{}.pth"),
    "darknet53": Published(("yolox_darknet.pth",), activations=("leaky_relu",)),
}
YOLOX_PIXELS = BGR_PIXELS
"""Since release 0.1.1; the first files took RGB, normalized."""

RTMDET = Origin(
    project="MMDetection RTMDet",
    url="https://github.com/open-mmlab/mmdetection",
    version="3.3.0",
    licence="Apache-2.0",
    weights_licence="Apache-2.0",
    paper="RTMDet: An Empirical Study of Designing Real-Time Object Detectors, arXiv:2212.07784",
)
RTMDET_NETWORKS = {
    "tiny": Published(("rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth",)),
    "s": Published(("rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth",)),
    "m": Published(("rtmdet_m_8xb32-300e_coco_20220719_112220-229f527c.pth",)),
    "l": Published(("rtmdet_l_8xb32-300e_coco_20220719_112030-5a0be7c4.pth",)),
    "x": Published(("rtmdet_x_8xb32-300e_coco_20220715_230555-cc79b9ae.pth",)),
}
RTMDET_PIXELS = Preprocessing("BGR", 255.0, mean=(103.53, 116.28, 123.675), deviation=(57.375, 57.12, 58.395))

PPYOLOE = Origin(
    project="PaddleDetection PP-YOLOE+",
    url="https://github.com/PaddlePaddle/PaddleDetection",
    version="666f597fd00d3157e84dd9fb2dd3f40bf9918ebc",
    licence="Apache-2.0",
    weights_licence="Apache-2.0",
    paper="PP-YOLOE: An evolved version of YOLO, arXiv:2203.16250",
)
PPYOLOE_NETWORKS = _named("s m l x", "ppyoloe_plus_crn_{}_80e_coco.pdparams")

DAMO = Origin(
    project="DAMO-YOLO",
    url="https://github.com/tinyvision/DAMO-YOLO",
    version="319572eef367340267ab6ab8ae253527a71d7c3a",
    licence="Apache-2.0",
    weights_licence="Apache-2.0",
    paper="DAMO-YOLO: A Report on Real-Time Object Detection Design, arXiv:2211.15444",
)
DAMO_NETWORKS = {
    "t": Published(("damoyolo_tinynasL20_T.pth",), activations=("relu", "silu")),
    "s": Published(("damoyolo_tinynasL25_S.pth",), activations=("relu", "silu")),
    "m": Published(("damoyolo_tinynasL35_M.pth",), activations=("silu", "relu")),
    "l": Published(("damoyolo_tinynasL45_L.pth",), activations=("silu", "relu")),
    "ns": Published(("damoyolo_tinynasL18_Ns.pth",), 416),
    "nm": Published(("damoyolo_tinynasL18_Nm.pth",), 416),
    "nl": Published(("damoyolo_tinynasL20_Nl.pth",), 416),
    "n": Published(("damoyolo_tinynasL20_N.pth",), 416),
}
DAMO_PIXELS = RGB_PIXELS

NAS = Origin(
    project="YOLO-NAS",
    url="https://github.com/Deci-AI/super-gradients",
    version="3.7.1",
    licence="Apache-2.0",
    weights_licence="LicenseRef-YOLO-NAS",
)
NAS_NETWORKS = _named("s m l", "yolo_nas_{}_coco.pth")
