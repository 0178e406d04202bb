//! A bf16 table that is the head too is held once: looked up in what is packed for the head.

use r1_model::checkpoint::SaveDtype;
use r1_model::network::Attend;
use r1_model::{Config, LoadOptions, Packed, Policy, Precision};
use serde_json::json;

fn logits(policy: &Policy, ids: &[u32]) -> Vec<u32> {
    let mut batch = Packed::default();
    batch.push(None, ids);
    let rows: Vec<u32> = (0..ids.len() as u32).collect();
    let mut out = Vec::new();
    policy.logits(&batch.tokens, &batch.positions, Attend::Packed(&batch.segments), &rows, &mut out).unwrap();
    out.iter().map(|x| x.to_bits()).collect()
}

/// Loaded to sample it has the bits of one loaded to be trained, whose table is apart; also with a subnormal in it, which packing
/// makes a zero.
#[test]
fn a_tied_table_is_looked_up_as_it_is_in_the_file() {
    let raw = json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 70, "hidden_size": 40, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32,
        "tie_word_embeddings": true});
    let scratch = std::env::temp_dir().join(format!("r1-tied-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::write(scratch.join("config.json"), raw.to_string()).unwrap();
    let config = Config::parse(raw, None).unwrap();
    let mut policy = Policy::initialize(config, 5, LoadOptions::trainable(Some(Precision::F32))).unwrap();
    for (subnormal, dtype) in [(false, SaveDtype::Bf16), (true, SaveDtype::Bf16), (true, SaveDtype::F32)] {
        if subnormal {
            // A whole row: its norm then comes of nothing but subnormals.
            policy.parameters_mut()[0].value[3 * 40..4 * 40].fill(1e-39);
        }
        policy.save_weights(&scratch, dtype).unwrap();
        for precision in [Precision::F32, Precision::Bf16] {
            if let Err(fact) = r1_kernels::supports(precision) {
                println!("skipped: {fact}");
                continue;
            }
            let trained = Policy::load(&scratch, LoadOptions::trainable(Some(precision))).unwrap();
            let frozen = Policy::load(&scratch, LoadOptions::frozen(Some(precision))).unwrap();
            let ids = [3, 7, 3, 3, 69, 0, 3];
            assert!(logits(&trained, &ids) == logits(&frozen, &ids), "{subnormal} {dtype:?} {precision:?}");
        }
    }
    std::fs::remove_dir_all(scratch).unwrap();
}
