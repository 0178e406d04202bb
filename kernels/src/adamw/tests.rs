use super::*;

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

const STEP: Step =
    Step { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 1, grad_scale: 0.5 };

#[test]
fn fifty_steps_stay_with_the_formula_in_f64() {
    for n in [1, 16, 37, 20_000] {
        let mut w = noise(n, 3);
        let (mut m, mut v) = (vec![0f32; n], vec![0f32; n]);
        let mut w64: Vec<f64> = w.iter().map(|&x| f64::from(x)).collect();
        let (mut m64, mut v64) = (vec![0f64; n], vec![0f64; n]);
        for step in 1..=50 {
            let s = Step { step, lr: 1e-2 / step as f64, ..STEP };
            let g = noise(n, 100 + step);
            let g64: Vec<f64> = g.iter().map(|&x| f64::from(x)).collect();
            update(&mut w, &g, &mut m, &mut v, &s);
            reference::update(&mut w64, &g64, &mut m64, &mut v64, &s);
        }
        for i in 0..n {
            assert!((f64::from(w[i]) - w64[i]).abs() < 2e-6, "{n}: w[{i}] {} against {}", w[i], w64[i]);
            assert!((f64::from(m[i]) - m64[i]).abs() < 1e-6);
            assert!((f64::from(v[i]) - v64[i]).abs() < 1e-6);
        }
    }
}

#[test]
fn the_first_step_is_the_sign_of_the_gradient() {
    // With zero moments and no decay, m̂/√v̂ = g/|g|, whatever the size of g.
    let s = Step { weight_decay: 0.0, grad_scale: 1.0, lr: 0.25, ..STEP };
    let mut w = [1.0, 1.0, 1.0];
    update(&mut w, &[1e-3, -7.0, 0.0], &mut [0.0; 3], &mut [0.0; 3], &s);
    assert!((w[0] - 0.75).abs() < 1e-5 && (w[1] - 1.25).abs() < 1e-5 && w[2] == 1.0, "{w:?}");
    // Decay alone: w (1 - lr λ).
    let mut w = [2.0];
    update(&mut w, &[0.0], &mut [0.0], &mut [0.0], &Step { weight_decay: 0.5, ..s });
    assert_eq!(w, [1.75]);
}

#[test]
fn cutting_the_parameter_changes_no_bit() {
    let n = 40_003;
    let (g, start) = (noise(n, 1), noise(n, 2));
    let (mut w, mut m, mut v) = (start.clone(), noise(n, 4), vec![0.5; n]);
    let (mut w2, mut m2, mut v2) = (w.clone(), m.clone(), v.clone());
    update(&mut w, &g, &mut m, &mut v, &STEP);
    for (from, to) in [(0, 7), (7, 8), (8, 33_333), (33_333, n)] {
        update(&mut w2[from..to], &g[from..to], &mut m2[from..to], &mut v2[from..to], &STEP);
    }
    let c = Constants::of(&STEP);
    for i in 0..n {
        assert_eq!(
            (w[i].to_bits(), m[i].to_bits(), v[i].to_bits()),
            (w2[i].to_bits(), m2[i].to_bits(), v2[i].to_bits())
        );
        let plain = c.apply(start[i], g[i], noise_at(4, i, n), 0.5);
        assert_eq!(plain.0.to_bits(), w[i].to_bits());
    }
}

fn noise_at(seed: u64, i: usize, n: usize) -> f32 {
    thread_local!(static LAST: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) });
    LAST.with_borrow_mut(|values| {
        if values.len() != n {
            *values = noise(n, seed);
        }
        values[i]
    })
}

#[test]
#[should_panic(expected = "adamw: 2 weights, 1 gradients")]
fn lengths_are_checked() {
    update(&mut [0.0; 2], &[0.0], &mut [0.0; 2], &mut [0.0; 2], &STEP);
}
