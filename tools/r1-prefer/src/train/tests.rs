//! The whole gradient, from the loss of pairs and labels down to every tensor, against finite differences.

use super::*;
use r1_model::batch::Sequence;
use r1_train::optimizer::Hyper;
use r1_train::update::Limits;

fn trainer(micro_tokens: usize) -> Trainer {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/scores/llama");
    let policy = Policy::load_scorer(&dir, LoadOptions::trainable(Some(Precision::F32))).unwrap();
    let optimizer = AdamW::fresh(
        &policy,
        Hyper { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, freeze_router: false },
    );
    Trainer::new(policy, optimizer, Limits { micro_tokens, clip_norm: 0.0, router_bias_rate: 0.0 }).unwrap()
}

#[test]
fn gradients_agree_with_finite_differences() {
    type Ids = &'static [u32];
    let (p, q): (Ids, Ids) = (&[1, 20, 31, 44, 5], &[1, 20, 31, 9]);
    let (a, b, c): (Ids, Ids, Ids) = (&[7, 8, 9, 2], &[71, 2], &[2]);
    let unit = |list: &[(Ids, Ids)]| Unit {
        sequences: list.iter().map(|&(prompt, completion)| Sequence { prompt, completion }).collect(),
    };
    let units = [unit(&[(p, a), (p, b)]), unit(&[(q, c)]), unit(&[(q, b), (q, c)]), unit(&[(p, c)])];
    let rows = [
        Judged::of(Known::Pair { margin: 0.4 }),
        Judged::of(Known::Label(true)),
        Judged::of(Known::Pair { margin: 0.0 }),
        Judged::of(Known::Label(false)),
    ];
    let rows: Vec<&Judged> = rows.iter().collect();
    let loss = |trainer: &mut Trainer| {
        let mut batch = Batch::default();
        accumulate(trainer, &units, &rows, 0.05, &mut batch).unwrap();
        batch.loss()
    };
    // How the batch is cut changes nothing but the order of f32 sums.
    let (mut trainer, mut cut) = (self::trainer(4096), self::trainer(1));
    let (whole, pieces) = (loss(&mut trainer), loss(&mut cut));
    assert!((whole - pieces).abs() < 1e-12, "{whole} {pieces}");
    let gradients = trainer.gradients().values.clone();
    for (a, b) in gradients.iter().flatten().zip(cut.gradients().values.iter().flatten()) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let mut checked = 0;
    for (i, gradient) in gradients.iter().enumerate() {
        let tensor = trainer.policy.parameters()[i].pieces[0].name.clone();
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(norm > 1e-5, "{tensor} got no gradient");
        let start = trainer.policy.parameters()[i].value.clone();
        let h = 2e-3;
        let mut at = |sign: f64| {
            let value = &mut trainer.policy.parameters_mut()[i].value;
            for ((v, s), g) in value.iter_mut().zip(&start).zip(gradient) {
                *v = (f64::from(*s) + sign * h * f64::from(*g) / norm) as f32;
            }
            trainer.policy.repack();
            loss(&mut trainer)
        };
        let numeric = (at(1.0) - at(-1.0)) / (2.0 * h);
        assert!((numeric - norm).abs() < 5e-3 * norm + 1e-3, "{tensor}: {numeric} by differences, {norm}");
        checked += 1;
        trainer.policy.parameters_mut()[i].value = start;
        trainer.policy.repack();
    }
    assert!(checked > 15, "{checked}");
}
