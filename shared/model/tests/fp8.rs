//! FP8 weights with block scales against torch and transformers: the numbers are in `tests/golden/fp8.json`, their recipe in
//! `scripts/golden/fp8.py`.

use std::path::Path;

use r1_model::checkpoint::Tensors;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The recipe's rule for the bytes of a matrix.
fn byte(i: usize) -> u8 {
    match ((151 * i + i / 256 * 57 + 3) % 256) as u8 {
        0x7f | 0xff => 0x3f,
        value => value,
    }
}

/// The recipe's rule for the scales.
fn scale(j: usize) -> f32 {
    2f32.powi(((37 * j) % 9) as i32 - 6) * (1.0 + ((101 * j) % 1024) as f32 / 1024.0)
}

/// A file with FP8 bytes of this shape and their scales.
fn file(bytes: &[u8], shape: [usize; 2], scales: &[f32]) -> Vec<u8> {
    let blocks = shape.map(|n| n.div_ceil(128));
    let (middle, end) = (bytes.len(), bytes.len() + 4 * scales.len());
    let header = json!({
        "w.weight": {"dtype": "F8_E4M3", "shape": shape, "data_offsets": [0, middle]},
        "w.weight_scale_inv": {"dtype": "F32", "shape": blocks, "data_offsets": [middle, end]},
    })
    .to_string();
    let scales: Vec<u8> = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), bytes, &scales].concat()
}

fn dequantized(bytes: &[u8], shape: [usize; 2], scales: &[f32]) -> Vec<f32> {
    let path = std::env::temp_dir().join(format!("r1-fp8-{}.safetensors", std::process::id()));
    std::fs::write(&path, file(bytes, shape, scales)).unwrap();
    let values = Tensors::open_file(path.clone()).unwrap().read_f32("w.weight", &shape);
    std::fs::remove_file(&path).unwrap();
    values.unwrap()
}

#[test]
fn fp8_blocks_are_those_of_torch_and_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/fp8.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();

    let codes = golden["codes"].as_array().unwrap();
    let finite: Vec<u8> = (0..=255u8).filter(|c| !codes[usize::from(*c)].is_null()).collect();
    assert_eq!(finite.len(), 254);
    let values = dequantized(&finite, [1, 254], &[1.0, 1.0]);
    for (code, value) in finite.iter().zip(values) {
        let wanted = codes[usize::from(*code)].as_f64().unwrap() as f32;
        assert_eq!(value.to_bits(), wanted.to_bits(), "code {code:#04x}");
    }

    let mut by_transformers = 0;
    for matrix in golden["matrices"].as_array().unwrap() {
        let [rows, columns] = ["rows", "columns"].map(|side| matrix[side].as_u64().unwrap() as usize);
        let bytes: Vec<u8> = (0..rows * columns).map(byte).collect();
        let scales: Vec<f32> = (0..rows.div_ceil(128) * columns.div_ceil(128)).map(scale).collect();
        let values = dequantized(&bytes, [rows, columns], &scales);
        for (place, wanted) in
            matrix["places"].as_array().unwrap().iter().zip(matrix["values"].as_array().unwrap())
        {
            let place = place.as_u64().unwrap() as usize;
            assert_eq!(f64::from(values[place]), wanted.as_f64().unwrap(), "[{rows}, {columns}] at {place}");
        }
        let mut hash = Sha256::new();
        values.iter().for_each(|x| hash.update(x.to_le_bytes()));
        let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, matrix["sha256"].as_str().unwrap(), "[{rows}, {columns}]");
        by_transformers += usize::from(matrix["by"] == "transformers");
    }
    assert_eq!(by_transformers, 2);
}
