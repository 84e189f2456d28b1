"""What importing costs: nothing heavy before it is asked for."""

from __future__ import annotations

from conftest import in_subprocess

CONVERTERS = ("tf_keras", "tensorflow_model_optimization", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")


def loaded_after(code: str, *modules: str) -> list[str]:
    return in_subprocess(f"import os, sys\n{code}\nprint(*[m for m in {modules!r} if m in sys.modules])").split()


def test_the_package_imports_neither_keras_nor_a_converter():
    assert loaded_after("import keras_yolo_backbones", "keras", "tensorflow", "numpy", *CONVERTERS) == []


def test_building_and_fusing_import_no_converter():
    code = "import keras_yolo_backbones as kyb\nkyb.fuse(kyb.v8('n', input_shape=(32, 32, 3)))"
    assert loaded_after(code, "keras", *CONVERTERS) == ["keras"]


def test_no_environment_variable_is_set():
    code = (
        "before = dict(os.environ)\nimport keras_yolo_backbones as kyb\nkyb.create, kyb.export_onnx\n"
        "import keras\nown = {k: v for k, v in os.environ.items() if before.get(k) != v}\n"
        "print('TF_USE_LEGACY_KERAS' in own)"
    )
    assert "False" in in_subprocess(f"import os\n{code}")


def test_running_a_tflite_file_needs_no_tensorflow():
    assert loaded_after("import keras_yolo_backbones.litert", "tensorflow", "keras") == []


def test_every_public_name_is_there():
    code = "import keras_yolo_backbones as kyb\n[getattr(kyb, name) for name in kyb.__all__]\nprint(callable(kyb.fuse))"
    assert in_subprocess(code).split()[-1] == "True"


def test_only_public_names_are_shown():
    code = (
        "import keras_yolo_backbones as kyb\nkyb.quantization.plan, kyb.serving.Client\n"
        "for module in (kyb, kyb.quantization, kyb.serving):\n"
        "    assert dir(module) == sorted(module.__all__), module\n"
        "    assert all(hasattr(module, name) for name in dir(module)), module\n"
        "print(*dir(kyb.quantization))"
    )
    shown = in_subprocess(code).split()
    assert {"plan", "Plan", "quantize_aware", "report"} <= set(shown)
    assert not {"annotations", "importlib", "Any", "ranges"} & set(shown)


def test_unknown_names_are_attribute_errors():
    code = "import keras_yolo_backbones as kyb\ntry:\n    kyb.v99\nexcept AttributeError as error:\n    print(error)"
    assert "has no attribute 'v99'" in in_subprocess(code)
