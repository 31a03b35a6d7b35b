"""The ladder, read from top to bottom. To add a row: one step function if none fits, one line here."""

import math

from lxbench.ladder import ALL, CPU, CUDA, Variant, ladder
from lxbench.steps.attention import attention
from lxbench.steps.bitsandbytes import bitsandbytes_int8, bitsandbytes_nf4
from lxbench.steps.compile import compile_decoding, compile_encoder
from lxbench.steps.cut import low_rank, prune_ffn, prune_heads, prune_layers
from lxbench.steps.engines import ctranslate2, decode_in_onnxruntime, onnxruntime, openvino, whispercpp
from lxbench.steps.once import once
from lxbench.steps.plain import graph_decoding, graph_encoder, merge_padding, plain_decoding
from lxbench.steps.precision import allow_tf32, autocast, cast
from lxbench.steps.prune import prune_l2, prune_magnitude
from lxbench.steps.quantize import int8_weights, quantize_dynamic, quantize_linears, quantize_static
from lxbench.steps.sparse import sparse_2_4
from lxbench.steps.tables import prune_positions, prune_vocabulary
from lxbench.steps.torchao import torchao_a8w4, torchao_a8w8, torchao_fp8, torchao_w4, torchao_w8
from lxbench.verdict import Tolerance

# What a destroyed model says is noise, and so is the time it takes: that it is caught is what is gated.
NOISE = Tolerance(wer=math.inf, cer=math.inf, speed=1.0)
DYNAMIC = "quantized::linear_dynamic float32"
DECODING_COMPILED = "Torch-Compiled Region 1"  # The encoder's is 0.
CPU_ALONE = "its kernels are for CPUs"
GPU_ALONE = "its kernels are for GPUs"
ENGINE = "its engine runs on the CPU here"
# One step in several rows: rows with the very same steps are measured once.
PRUNE = prune_magnitude(0.81)
# Shares were chosen on ivr-ru-selection, see docs/pruning.md.
CYRILLIC = prune_vocabulary("CYRILLIC")
STRUCTURED = (prune_positions(20), once(prune_ffn((0.75, 0.75, 0.75, 0.9, 1))), CYRILLIC)
# What makes whisper-base several times faster, see docs/performance.md.
MERGED = (plain_decoding, merge_padding(64))
# The same for kernels that are made for the very number of positions, as those in bfloat16 are.
ROUNDED = (plain_decoding, merge_padding(64, multiple=32))
BF16 = "avx512_bf16"
FP8 = "sm_89"
INT8 = quantize_linears("model.decoder.*", "proj_out", "model.encoder.*.fc1")

VARIANTS = ladder(
    Variant("fp32", ALL, (), "the model as loaded", runs="addmm float32"),
    # Precision and compilation: the same numbers, or shorter ones.
    Variant(
        "tf32",
        CUDA,
        (allow_tf32,),
        "float32 rounded to 10 bits of mantissa in products",
        runs="*tf32*",  # in the name of cuBLAS's kernels
        elsewhere=GPU_ALONE,
        instructions="sm_80",
    ),
    Variant(
        "fp16",
        CUDA,
        (cast("float16"),),
        "weights and activations in float16",
        runs="addmm float16",
        elsewhere=GPU_ALONE,
    ),
    Variant("bf16", ALL, (cast("bfloat16"),), "weights and activations in bfloat16", runs="addmm bfloat16"),
    Variant("autocast", ALL, (autocast("bfloat16"),), "matrix products in bfloat16", runs="addmm bfloat16"),
    Variant(
        "autocast-fp16",
        CUDA,
        (autocast("float16"),),
        "matrix products in float16",
        runs="addmm float16",
        elsewhere="float16 autocast is for GPUs",
    ),
    # Which kernel computes attention: fp16 takes what torch thinks fastest.
    *(
        Variant(
            f"fp16-{backend}",
            CUDA,
            (cast("float16"), attention(backend)),
            f"attention by the kernel that torch calls {backend}",
            runs=kernel,
            elsewhere=GPU_ALONE,
            instructions=needed,
        )
        for backend, kernel, needed in (
            ("flash", "*_flash_attention_forward*", "sm_80"),
            ("efficient", "*_efficient_attention_forward*", ""),
            ("math", "*_attention_math*", ""),
        )
    ),
    Variant(
        "compile",
        ALL,
        (compile_encoder, compile_decoding),
        "encoder and decoding step through torch.compile, static cache",
        runs=DECODING_COMPILED,
    ),
    # Quantization: integers for weights, and for activations where the kernels can.
    Variant("ptq-dynamic", CPU, (quantize_dynamic,), "dynamic int8", runs=DYNAMIC, elsewhere=CPU_ALONE),
    Variant(
        "ptq-static",
        CPU,
        (quantize_static,),
        "static int8 encoder, ranges from calibration clips, compiled",
        runs="onednn::qlinear_pointwise*int8*",
        elsewhere="its kernels are for x86 CPUs",
    ),
    Variant("bnb-int8", ALL, (bitsandbytes_int8,), "bitsandbytes LLM.int8", runs="MatMul8bitLt*int8*"),
    Variant("bnb-nf4", ALL, (bitsandbytes_nf4,), "bitsandbytes NF4", runs="bitsandbytes::*4bit*uint8*"),
    Variant("ao-a8w8", ALL, (torchao_a8w8,), "torchao Int8A-Int8W", runs="_int_mm *int8"),
    Variant("ao-a8w8-compile", ALL, (torchao_a8w8, compile_encoder), "its encoder compiled", runs="_int_mm *int8"),
    Variant("ao-a8w4", ALL, (torchao_a8w4,), "torchao Int8A-Int4W", runs="torchao::dequantize_affine*int8"),
    Variant(
        "ao-a8w4-compile",
        ALL,
        (torchao_a8w4, compile_encoder, compile_decoding),
        "compiled",
        runs=DECODING_COMPILED,
        # Two processes of this row are 5 % apart, those of other rows 1 %: what nox -s calibrate proposes of that.
        tolerance=Tolerance(speed=0.15),
    ),
    Variant("ao-w8", CUDA, (torchao_w8,), "torchao int8 weights", runs="*mm *", elsewhere=GPU_ALONE),
    Variant(
        "ao-w4",
        CUDA,
        (cast("bfloat16"), torchao_w4),
        "torchao int4 weights, products in bfloat16",
        runs="*int4pack_mm*",
        elsewhere=GPU_ALONE,
        instructions="sm_80",
    ),
    Variant(
        "ao-fp8",
        CUDA,
        (cast("bfloat16"), torchao_fp8),
        "torchao float8 weights and activations",
        runs="*_scaled_mm*",
        elsewhere=GPU_ALONE,
        instructions=FP8,
    ),
    # Pruning by masks: how much may go before the words do. The sweep over shares is in the study alone.
    *(
        Variant(f"prune-magnitude-{percent}", ALL, (prune_magnitude(percent / 100),), clips=24, study=True)
        for percent in (95, 90)
    ),
    Variant("prune-magnitude", ALL, (PRUNE,), "the largest 81 % kept", runs="addmm float32"),
    Variant("prune-magnitude-70", ALL, (prune_magnitude(0.70),), clips=24, study=True),
    *(
        Variant(
            f"prune-magnitude-{percent}",
            ALL,
            (prune_magnitude(percent / 100),),
            clips=8,
            unusable=True,
            study=True,
            tolerance=NOISE,
        )
        for percent in (60, 50)
    ),
    Variant(
        "prune-l2",
        ALL,
        (prune_l2(0.81),),
        "the 81 % of outputs with the largest norm kept: destroyed",
        runs="addmm float32",
        clips=4,
        unusable=True,
        tolerance=NOISE,
    ),
    # Pruning that removes: smaller matrices, fitted on calibration clips.
    Variant(
        "prune-ffn",
        ALL,
        (once(prune_ffn((0.5, 0.5, 0.5, 0.75, 1))),),
        "up to half of the encoder's neurons removed, less in the last layers",
        runs="addmm float32",
    ),
    Variant(
        "prune-heads",
        ALL,
        (once(prune_heads((0.75, 1))),),
        "a quarter of the heads removed in the first layers of the encoder, less in the next",
        runs="addmm float32",
    ),
    Variant(
        "prune-layers",
        ALL,
        (once(prune_layers(decoder=1)),),
        "a decoder layer removed, the least there is: too much",
        runs="addmm float32",
        unusable=True,
    ),
    Variant("prune-lowrank", ALL, (once(low_rank(encoder=0.999)),), "two thin matrices for one", runs="addmm float32"),
    Variant(
        "prune-vocab",
        ALL,
        (CYRILLIC,),
        "the tokens of Cyrillic text kept",
        runs="addmm float32",
    ),
    Variant(
        "prune-structured",
        ALL,
        STRUCTURED,
        "20 s heard, neurons and tokens removed",
        runs="addmm float32",
    ),
    Variant(
        "prune-structured-bf16",
        ALL,
        (*STRUCTURED, cast("bfloat16")),
        "the same in bfloat16",
        runs="addmm bfloat16",
    ),
    Variant(
        "prune-structured-int8",
        CPU,
        (*STRUCTURED, quantize_dynamic),
        "the same in dynamic int8",
        runs=DYNAMIC,
        elsewhere=CPU_ALONE,
    ),
    Variant(
        "sparse-2-4",
        CUDA,
        (cast("float16"), sparse_2_4("model.encoder.*")),
        "two of four neighbours kept in the encoder, nothing trained",
        runs="*sparse*",
        elsewhere=GPU_ALONE,
        instructions="sm_80",
        clips=8,  # Many of its texts only end where they are cut off.
        unusable=True,
        tolerance=NOISE,
    ),
    # Several times faster: what is computed for nothing goes first, then numbers get shorter.
    Variant("plain", ALL, (plain_decoding,), "a plain greedy loop for generate", runs="addmm float32"),
    Variant(
        "merge-padding", ALL, MERGED, "padding heard the coarser the further behind the clip", runs="addmm float32"
    ),
    Variant(
        "merge-vocab",
        ALL,
        (CYRILLIC, *MERGED),
        "and the tokens of Cyrillic text kept",
        runs="addmm float32",
    ),
    Variant(
        "fast",
        CPU,
        (CYRILLIC, *MERGED, INT8),
        "and the decoder and fc1 in int8",
        runs=DYNAMIC,
        elsewhere=CPU_ALONE,
    ),
    Variant(
        "fast-bf16",
        CPU,
        (CYRILLIC, *ROUNDED, cast("bfloat16", "model.encoder"), quantize_linears("model.decoder.*", "proj_out")),
        "its encoder in bfloat16",
        runs="addmm bfloat16",
        elsewhere=CPU_ALONE,
        instructions=BF16,
    ),
    Variant(
        "graphs",
        CUDA,
        (plain_decoding, graph_encoder, graph_decoding(fused=True)),
        "the plain loop and the encoder as CUDA graphs, prompt and decoding step in kernels of our own",
        runs="cudaGraphLaunch",
        elsewhere=GPU_ALONE,
    ),
    Variant(
        "graphs-fp16",
        CUDA,
        (cast("float16"), plain_decoding, graph_encoder, graph_decoding()),
        "the same in float16, in the libraries' kernels",
        runs="cudaGraphLaunch",
        elsewhere=GPU_ALONE,
    ),
    Variant(
        "fast-fp16",
        CUDA,
        (CYRILLIC, cast("float16"), plain_decoding, graph_encoder, graph_decoding(fused=True)),
        "in float16, in kernels of our own, the tokens of Cyrillic text kept",
        runs="cudaGraphLaunch",
        elsewhere=GPU_ALONE,
        instructions="sm_70",
    ),
    Variant(
        "fast-w8",
        CUDA,
        (
            CYRILLIC,
            cast("float16"),
            plain_decoding,
            int8_weights(
                *(f"model.decoder.layers.*.{part}" for part in ("attention.*", "cross.[qo]*", "fc?")), "proj_out"
            ),
            graph_encoder,
            graph_decoding(fused=True),
        ),
        "and the decoder's weights in int8",
        runs="cudaGraphLaunch",
        elsewhere=GPU_ALONE,
        instructions="sm_70",
    ),
    Variant(
        "fast-2-4",
        CUDA,
        # No graph of the encoder: whether cuSPARSELt may be recorded is not known.
        (CYRILLIC, cast("float16"), plain_decoding, sparse_2_4("model.encoder.*"), graph_decoding(fused=True)),
        "fast-fp16 with the encoder of sparse-2-4",
        runs="*sparse*",
        elsewhere=GPU_ALONE,
        instructions="sm_80",
        clips=8,
        unusable=True,
        tolerance=NOISE,
    ),
    # The same model in other engines, converted while it is loaded; nox -s engines.
    *(
        Variant(
            name,
            CPU,
            (step(kind),),
            summary,
            runs=f"{step.__name__}::{kind}",
            elsewhere=ENGINE,
            needs=package,
            instructions=BF16 if kind == "bfloat16" else "",
        )
        for name, step, kind, package, summary in (
            ("ct2", ctranslate2, "float32", "ctranslate2", "CTranslate2, faster-whisper's engine"),
            ("ct2-int8", ctranslate2, "int8_float32", "ctranslate2", "the same in int8"),
            ("ort", onnxruntime, "float32", "onnxruntime", "ONNX Runtime"),
            ("ort-int8", onnxruntime, "int8", "onnxruntime", "the same in dynamic int8"),
            ("openvino", openvino, "float32", "openvino", "OpenVINO"),
            ("openvino-bf16", openvino, "bfloat16", "openvino", "the same in bfloat16"),
            ("whispercpp-f16", whispercpp, "float16", "pywhispercpp", "whisper.cpp, weights in float16"),
            ("whispercpp-q8", whispercpp, "q8_0", "pywhispercpp", "the same in 8 bits, by blocks of 32"),
        )
    ),
    Variant(
        "fast-ort",
        CPU,
        (CYRILLIC, *MERGED, decode_in_onnxruntime("int8"), quantize_linears("model.decoder.*", "model.encoder.*.fc1")),
        "fast, its decoder in ONNX Runtime",
        runs="onnxruntime::int8",
        elsewhere=CPU_ALONE,
        needs="onnxruntime",
    ),
    Variant(
        "fast-ort-bf16",
        CPU,
        (CYRILLIC, *ROUNDED, decode_in_onnxruntime("int8"), cast("bfloat16", "model.encoder", "model.decoder.heard")),
        "its encoder in bfloat16",
        runs="addmm bfloat16",
        elsewhere=CPU_ALONE,
        needs="onnxruntime",
        instructions=BF16,
    ),
    # The study's combination, step by step.
    Variant("p", CPU, (PRUNE,), "pruned", runs="addmm float32", elsewhere="a combination for CPUs"),
    Variant("q", CPU, (quantize_dynamic,), "quantized", runs=DYNAMIC, elsewhere=CPU_ALONE),
    Variant(
        "q+p",
        CPU,
        (PRUNE, quantize_dynamic),
        "pruned, then quantized",
        runs=DYNAMIC,
        elsewhere=CPU_ALONE,
    ),
    Variant(
        "q+p+c",
        CPU,
        (PRUNE, quantize_dynamic, compile_encoder),
        "pruned, quantized, encoder compiled",
        runs=DYNAMIC,
        elsewhere=CPU_ALONE,
    ),
    Variant(
        "q+p+c-a8w8",
        CUDA,
        (PRUNE, torchao_a8w8, compile_encoder),
        "the same with torchao's Int8A-Int8W",
        runs="_int_mm *int8",
        elsewhere=GPU_ALONE,
    ),
)
