//! What a policy learns toward and under: teachers, adapters, and the most probable tokens of each place.

use super::*;

/// A batch's places, each with a temperature and a slope of its own.
fn slopes(batch: &Packed) -> (Vec<f32>, Vec<f32>) {
    let n = batch.target_rows.len();
    let inv = (0..n).map(|i| 0.7 + 0.1 * (i % 5) as f32);
    (inv.collect(), (0..n).map(|i| ((i * 37) % 11) as f32 * 0.02 - 0.1).collect())
}

/// The widest gap between gradients, each of its norm; a key's bias moves all scores of a row alike and has nothing but rounding.
fn apart(policy: &Policy, found: &Gradients, wanted: &Gradients) -> f64 {
    let (found, wanted) = (found.to_host().unwrap(), wanted.to_host().unwrap());
    let each = policy.parameters().iter().zip(found.iter().zip(&wanted));
    let each = each.filter(|(p, _)| !p.pieces[0].name.ends_with("k_proj.bias"));
    each.map(|(_, (found, wanted))| off(found, wanted)).fold(0.0, f64::max)
}

#[test]
fn the_most_probable_tokens_are_the_host_s() {
    each_device(|device| {
        for name in ["llama", "qwen2"] {
            let batch = packed(&sequences(&golden(name).0));
            let (inv, _) = slopes(&batch);
            let (here, there) = pair(name, device, Precision::F32);
            for top in [1, 9] {
                let (want, wanted) = here.logprobs_with_top(&batch, &inv, top).unwrap();
                let (found, listed) = there.logprobs_with_top(&batch, &inv, top).unwrap();
                assert!(off(&found.logprobs, &want.logprobs) < 2e-5, "{name}");
                assert_eq!(listed.ids, wanted.ids, "{name}: the {top} most probable");
                assert!(off(&listed.logprobs, &wanted.logprobs) < 2e-5, "{name}");
            }
        }
    });
}

#[test]
fn teachers_pull_as_on_the_host() {
    each_device(|device| {
        for name in ["llama", "qwen2"] {
            let batch = packed(&sequences(&golden(name).0));
            let (inv, d) = slopes(&batch);
            let weights: Vec<f32> = d.iter().map(|d| 0.05 + d.abs()).collect();
            let (teacher, _) = pair(name, device, Precision::F32);
            let (ids, logprobs) = {
                let top = teacher.logprobs_with_top(&batch, &inv, 5).unwrap().1;
                (top.ids, top.logprobs)
            };
            let starts: Vec<usize> = (0..=inv.len()).map(|i| 5 * i).collect();
            for (precision, most) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.08)] {
                let (mut here, mut there) = pair(name, device, precision);
                // The student is another than the teacher.
                for policy in [&mut here, &mut there] {
                    let values: Vec<f32> = policy.values(3).unwrap().iter().map(|w| 3.0 * w + 0.1).collect();
                    policy.set_values(3, &values).unwrap();
                }
                let (_, on_device) = pair(name, device, precision);
                for kind in 0..3 {
                    for (beta, d) in [(0.0, &d), (0.3, &vec![0.0; d.len()]), (1.0, &d)] {
                        let run = |student: &Policy, live: &Policy| {
                            let mut grads = Gradients::zeros(student).unwrap();
                            let (out, tape) = student.forward(&batch, &inv, false, Recompute::None).unwrap();
                            let teacher = match kind {
                                0 => Teacher::Live(live),
                                1 => Teacher::Listed { ids: &ids, logprobs: &logprobs, starts: &starts },
                                _ => Teacher::Uniform,
                            };
                            let toward = Toward { teacher, beta, inv_temperature: &inv, weights: &weights };
                            let found =
                                student.backward_toward(&batch, &inv, &out, tape, d, &toward, &mut grads);
                            (found.unwrap(), grads)
                        };
                        let ((want, wanted), (found, gradients)) =
                            (run(&here, &teacher), run(&there, &on_device));
                        let what = format!("{name}, {precision:?}, teacher {kind}, beta {beta}");
                        assert!(off(&found, &want) < most, "{what}: divergences");
                        let apart = apart(&here, &gradients, &wanted);
                        println!("{what}: gradients at most {apart:.1e} off");
                        assert!(apart < most, "{what}: gradients {apart:e} off");
                    }
                }
            }
        }
    });
}

#[test]
fn adapters_are_the_host_s() {
    each_device(|device| {
        for name in ["llama", "qwen2-rslora", "deepseek-v3", "deepseek-v3-plain"] {
            let saved = dir("").join("../lora").join(name);
            let json: serde_json::Value =
                serde_json::from_slice(&std::fs::read(saved.join("golden.json")).unwrap()).unwrap();
            let checkpoint = json["checkpoint"].as_str().unwrap();
            let batch = packed(&sequences(&golden(checkpoint).0));
            let (inv, d) = slopes(&batch);
            for (precision, most) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.06)] {
                let load = |precision, device| {
                    let options = LoadOptions::adapted(Some(precision)).on(device);
                    let mut policy = Policy::load(&dir(checkpoint), options).unwrap();
                    Saved::open(&saved, &policy.config).unwrap().attach(&mut policy).unwrap();
                    policy
                };
                let (mut here, mut there) =
                    (load(Precision::F32, None), load(precision, Some(device.clone())));
                // A rounded score can flip which expert a token takes.
                if here.config.moe.is_some() && precision == Precision::Bf16 {
                    continue;
                }
                let (want, tape) = here.forward(&batch, &inv, false, Recompute::None).unwrap();
                let mut wanted = Gradients::zeros(&here).unwrap();
                here.backward(&batch, &inv, &want, tape, &d, None, &mut wanted).unwrap();
                let (out, tape) = there.forward(&batch, &inv, false, Recompute::Layers).unwrap();
                let mut found = Gradients::zeros(&there).unwrap();
                there.backward(&batch, &inv, &out, tape, &d, None, &mut found).unwrap();
                assert!(off(&out.logprobs, &want.logprobs) < most, "{name}, {precision:?}: logprobs");
                let apart = apart(&here, &found, &wanted);
                println!("{name}, {precision:?}: gradients at most {apart:.1e} off");
                assert!(apart < most, "{name}, {precision:?}: gradients {apart:e} off");
                [&mut here, &mut there].into_iter().for_each(|policy| policy.switch_adapter(false));
                let plain = |policy: &Policy| policy.logprobs(&batch, &inv, false).unwrap().logprobs;
                assert!(off(&plain(&there), &plain(&here)) < most, "{name}, {precision:?}: switched off");
                assert!(off(&plain(&here), &want.logprobs) > 1e-3, "{name}: an adapter that does something");
                [&mut here, &mut there].into_iter().for_each(|policy| policy.switch_adapter(true));
                let scratch = std::env::temp_dir().join(format!("r1-device-lora-{}", std::process::id()));
                let bytes = |policy: &Policy| {
                    std::fs::create_dir_all(&scratch).unwrap();
                    policy.save_adapter(&scratch, Path::new("base")).unwrap();
                    let bytes = std::fs::read(scratch.join("adapter_model.safetensors")).unwrap();
                    std::fs::remove_dir_all(&scratch).unwrap();
                    bytes
                };
                assert!(bytes(&here) == bytes(&there), "{name}: saved");
            }
        }
    });
}
