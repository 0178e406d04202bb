"""A GGUF file again with its matrices in f32 or bf16: what llama.cpp is timed on beside a policy that r1-init made of the same file.

    python gguf_as.py IN.gguf OUT.gguf f32|bf16          needs PyPI's gguf
"""

import sys

import gguf

source, target, name = sys.argv[1:4]
kind = {"f32": gguf.GGMLQuantizationType.F32, "bf16": gguf.GGMLQuantizationType.BF16}[name]
reader = gguf.GGUFReader(source)
writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
own = {"general.architecture", "general.file_type", "general.quantization_version"}
for key, field in reader.fields.items():
    if key.startswith("GGUF.") or key in own:
        continue
    items = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(key, field.contents(), field.types[0], sub_type=items)
for tensor in reader.tensors:
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape([int(n) for n in reversed(tensor.shape)])
    # llama.cpp wants vectors (norms) in f32.
    as_kind = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
    writer.add_tensor(tensor.name, gguf.quants.quantize(values, as_kind), raw_dtype=as_kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
