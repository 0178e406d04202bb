//! The sampling engine on a device: the host's tokens, in any batch, by recordings or not.

use super::*;

/// Completions and their log-probabilities.
type Drawn = Vec<(Vec<u32>, Vec<f32>)>;

fn limits(max_tokens: usize, pages: usize) -> Limits {
    Limits {
        max_tokens,
        min_tokens: 0,
        max_sequences: 5,
        prefill_tokens: 16,
        kv_bytes: pages << 10,
        latents: false,
        longest_first: false,
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        seed: 11,
    }
}

fn draw(policy: &Policy, sampling: &Sampling, requests: &[Request]) -> Drawn {
    // A tenth of the vocabulary ends a completion, and may not do so at once.
    let ends = (0..policy.config.vocab_size as u32).step_by(10).collect();
    let limits = Limits { min_tokens: 5, stop_tokens: ends, ..limits(16, 1000) };
    draw_within(policy, sampling, requests, limits)
}

fn draw_within(policy: &Policy, sampling: &Sampling, requests: &[Request], limits: Limits) -> Drawn {
    let mut engine = Engine::plan(policy, None, sampling.clone(), limits).unwrap();
    let mut drawn = Vec::new();
    engine
        .run(requests, |_, group| {
            drawn.extend(group.into_iter().map(|c| (c.ids, c.logprobs)));
            Ok(())
        })
        .unwrap();
    drawn
}

/// In f32 what the device computes differs by rounding only, so that it draws the host's tokens: but where the number drawn
/// falls on the border between two, or two change places at the end of the k most probable. Up to there all is equal.
#[test]
fn the_engine_draws_the_host_s_tokens() {
    on_devices(&[7], |device| {
        for name in ARCHITECTURES {
            let (mut here, mut there) = pair(name, device, Precision::F32);
            here.config.eos_token_ids.clear();
            there.config.eos_token_ids.clear();
            let all = sequences(&golden(name).0);
            let request = |(i, prompt): (usize, Vec<u32>)| Request { prompt, key: i as u64, samples: 3 };
            let requests: Vec<Request> = all.into_iter().enumerate().map(request).collect();
            let (mut parted, mut drawn) = (0, 0);
            for sampling in [
                Sampling { temperature: 0.0, ..Sampling::default() },
                Sampling::default(),
                Sampling { temperature: 0.8, top_k: 20, ..Sampling::default() },
                Sampling { temperature: 1.3, top_p: 0.9, min_p: 0.01, ..Sampling::default() },
                Sampling {
                    repetition_penalty: 1.3,
                    presence_penalty: 0.4,
                    frequency_penalty: 0.3,
                    forbidden: vec![vec![5], vec![7, 9]],
                    ..Sampling::default()
                },
                Sampling { repetition_penalty: 0.8, temperature: 0.0, ..Sampling::default() },
            ] {
                let (want, found) = (draw(&here, &sampling, &requests), draw(&there, &sampling, &requests));
                for (i, (want, found)) in want.iter().zip(&found).enumerate() {
                    let same = want.0.iter().zip(&found.0).take_while(|(a, b)| a == b).count();
                    let logprobs = want.1.iter().zip(&found.1).take(same);
                    let apart = logprobs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(apart < 1e-4, "{name}: log-probabilities of completion {i} are {apart:e} apart");
                    drawn += want.0.len();
                    parted += usize::from(same < want.0.len());
                }
            }
            assert!(parted * 500 <= drawn, "{name}: {parted} of {drawn} draws differ");
            println!("{name}: {parted} of {drawn} draws differ");
        }
    });
}

/// A drawn policy on `device` with heads of a size that tensor cores serve.
fn with_heads_of_64(device: &Device) -> Policy {
    let config = serde_json::json!({
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 131, "hidden_size": 192,
        "intermediate_size": 72, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1,
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "initializer_range": 0.1,
        "tie_word_embeddings": true, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
    });
    let options = LoadOptions::trainable(Some(Precision::Bf16)).on(Some(device.clone()));
    Policy::initialize(Config::parse(config, None).unwrap(), 5, options).unwrap()
}

/// How the rows of a batch are cut, and which tiles they fall into, changes no bit; and what training computes again has the bits that
/// sampling found, from a completion's first token on.
#[test]
fn in_a_batch_invariant_device_sampling_and_training_share_every_bit() {
    on_devices(&[7], |device| {
        let device = &device.clone().batch_invariant(true);
        let policies = [
            ("qwen2 in f32", pair("qwen2", device, Precision::F32).1),
            ("qwen2", pair("qwen2", device, Precision::Bf16).1),
            ("deepseek-v3", pair("deepseek-v3", device, Precision::Bf16).1),
            ("heads of 64", with_heads_of_64(device)),
        ];
        for (name, mut there) in policies {
            there.config.eos_token_ids.clear();
            let mut all = sequences(&golden("qwen2").0);
            if there.config.max_position_embeddings > 310 {
                let long = all.concat().into_iter().cycle().take(300).collect();
                all.push(long);
            }
            let request = |(i, prompt): (usize, Vec<u32>)| Request { prompt, key: i as u64, samples: 2 };
            let requests: Vec<Request> = all.into_iter().enumerate().map(request).collect();
            let sampling = Sampling::default();
            let bounds = |sequences| Limits { max_sequences: sequences, ..limits(6, 1000) };
            let together = draw_within(&there, &sampling, &requests, bounds(40));
            let apart = requests
                .iter()
                .flat_map(|r| draw_within(&there, &sampling, std::slice::from_ref(r), bounds(1)));
            assert_eq!(apart.collect::<Vec<_>>(), together, "{name}");
            let prompts = requests.iter().flat_map(|r| [&r.prompt[..]; 2]);
            let drawn: Vec<Sequence> = prompts
                .zip(&together)
                .map(|(prompt, (ids, _))| Sequence { prompt, completion: ids })
                .collect();
            let batch = Packed::pack(&drawn);
            let ones = vec![1.0; batch.target_rows.len()];
            let again = there.logprobs(&batch, &ones, false).unwrap().logprobs;
            let sampled: Vec<f32> = together.iter().flat_map(|(_, logprobs)| logprobs.clone()).collect();
            assert_eq!(again, sampled, "{name}");
        }
    });
}

#[test]
fn memory_for_keys_and_values_is_what_the_device_has_left() {
    each_device(|device| {
        let options = LoadOptions::frozen(None).on(Some(device.clone()));
        let policy = Policy::load(&dir("qwen2"), options).unwrap();
        assert_eq!(kv_bytes(&policy, Some(3), 5, 16, false).unwrap(), 3 << 20);
        let (free, total) = device.memory().unwrap();
        let (few, many) = (
            kv_bytes(&policy, None, 5, 16, false).unwrap(),
            kv_bytes(&policy, None, 500, 16, false).unwrap(),
        );
        assert!(few > free / 2 && few <= free / 10 * 9 && many < few, "{few} and {many} of {free}");
        // Beside what is free less a step there is nothing left.
        assert_eq!(kv_bytes(&policy, None, total, 16, false).unwrap(), 0);
        // Latents on the way to keys and values take their room.
        let options = LoadOptions::frozen(None).on(Some(device.clone()));
        let latent = Policy::load(&dir("deepseek-v3"), options).unwrap();
        let [values, latents] = [false, true].map(|kept| kv_bytes(&latent, None, 5, 16, kept).unwrap());
        assert!(latents < values && latents > values / 2, "{latents} of {values}");
        let too_many = Limits { max_sequences: 1 << 30, kv_bytes: 4 * total, ..limits(40, 0) };
        let error = Engine::plan(&policy, None, Sampling::default(), too_many).err().unwrap();
        let error = format!("{error:#}");
        assert!(error.contains("lower --kv-memory") && error.contains("asks for"), "{error}");
    });
}

/// A golden policy on `device` that no token ends, and its golden prompts with as many samples as each asks for.
fn endless(
    name: &str,
    precision: Precision,
    device: &Device,
    samples: impl Fn(usize) -> usize,
) -> (Policy, Vec<Request>) {
    let options = LoadOptions::frozen(Some(precision)).on(Some(device.clone()));
    let mut policy = Policy::load(&dir(name), options).unwrap();
    policy.config.eos_token_ids.clear();
    let all = sequences(&golden(name).0).into_iter().enumerate();
    let requests = all.map(|(i, prompt)| Request { prompt, key: i as u64, samples: samples(i) }).collect();
    (policy, requests)
}

/// Steps by recordings are the same steps: buckets that change, sequences interrupted for want of pages, prompts that share pages.
#[test]
fn recorded_steps_draw_the_same_bits() {
    on_devices(&[3], |device| {
        for (name, precision) in [("qwen3-moe", Precision::Bf16), ("deepseek-v3", Precision::F32)] {
            let (policy, requests) = endless(name, precision, device, |i| 1 + i % 3);
            for (sampling, pages) in [
                (Sampling { temperature: 0.9, top_k: 20, top_p: 0.95, ..Sampling::default() }, 12),
                (
                    Sampling {
                        repetition_penalty: 1.3,
                        forbidden: vec![vec![5], vec![7, 9]],
                        ..Sampling::default()
                    },
                    1000,
                ),
            ] {
                let run = |recorded: bool| {
                    let plan = |kv_bytes: usize| {
                        let limits = Limits { kv_bytes, ..limits(72, 0) };
                        Engine::plan(&policy, None, sampling.clone(), limits).unwrap()
                    };
                    let page = plan(64 << 20).progress().page_bytes;
                    let mut engine = plan(pages * page);
                    if !recorded {
                        engine.without_recordings();
                    }
                    let mut drawn = Vec::new();
                    let keep = |_: usize, group: Vec<Completion>| {
                        drawn.extend(group.into_iter().map(|c| (c.ids, c.logprobs)));
                        Ok(())
                    };
                    engine.run(&requests, keep).unwrap();
                    (drawn, engine.progress())
                };
                let ((want, before), (found, after)) = (run(false), run(true));
                assert_eq!(found, want, "{name}");
                assert_eq!((before.replayed, after.interrupted), (0, before.interrupted));
                assert_eq!(before.interrupted > 0, pages < 100, "{name}: {before:?}");
                println!("{name}: {} of {} steps replayed", after.replayed, after.steps);
                assert!(after.replayed * 2 > after.steps, "{name}: {} of {}", after.replayed, after.steps);
            }
        }
    });
}

/// What a run draws, by recordings or not, and its counters.
fn run(policy: &Policy, requests: &[Request], limits: &Limits, recorded: bool) -> (Drawn, Progress) {
    let mut engine = Engine::plan(policy, None, Sampling::default(), limits.clone()).unwrap();
    if !recorded {
        engine.without_recordings();
    }
    let mut drawn = Vec::new();
    let keep = |_: usize, group: Vec<Completion>| {
        drawn.extend(group.into_iter().map(|c| (c.ids, c.logprobs)));
        Ok(())
    };
    engine.run(requests, keep).unwrap();
    (drawn, engine.progress())
}

/// A cache of latents gives the bits of one of keys and values: where sequences are interrupted, share pages and copy them, by recordings or not.
#[test]
fn latents_give_the_bits_of_keys_and_values() {
    on_devices(&[7], |device| {
        let invariant = device.clone().batch_invariant(true);
        for (name, precision, device) in [
            ("deepseek-v3", Precision::Bf16, device),
            ("deepseek-v2", Precision::F32, device),
            ("deepseek-v3", Precision::Bf16, &invariant),
        ] {
            let (policy, requests) = endless(name, precision, device, |i| 1 + i % 3);
            let values = Limits { kv_bytes: 64 << 20, ..limits(72, 0) };
            let latents = Limits { latents: true, ..values.clone() };
            let (want, made) = run(&policy, &requests, &values, false);
            let page = Engine::plan(&policy, None, Sampling::default(), latents.clone()).unwrap();
            let page = page.progress().page_bytes;
            for (pages, recorded) in [(1000, true), (12, true), (12, false)] {
                let latents = Limits { kv_bytes: pages * page, ..latents.clone() };
                let (found, kept) = run(&policy, &requests, &latents, recorded);
                assert!(found == want, "{name}: {pages} pages, recorded {recorded}");
                assert_eq!(kept.interrupted > 0, pages < 100, "{name}: {kept:?}");
                println!("{name}: {} of {} steps replayed", kept.replayed, kept.steps);
                assert_eq!(kept.replayed > 0, recorded, "{name}: {kept:?}");
                assert!(kept.page_bytes < made.page_bytes, "{name}: {kept:?}");
            }
        }
        let options = LoadOptions::frozen(None).on(Some(device.clone()));
        let dense = Policy::load(&dir("qwen2"), options).unwrap();
        let refused =
            Engine::plan(&dense, None, Sampling::default(), Limits { latents: true, ..limits(9, 9) });
        assert!(refused.is_err_and(|e| e.to_string().contains("no latents")));
    });
}

/// Where recordings find no room, or leave none for a step, they are given up, and the run goes on to the same bits.
#[test]
fn recordings_that_do_not_fit_are_given_up() {
    if std::env::var("R1_CUDA").is_ok_and(|how| how == "card") {
        return eprintln!("skipped: a card's memory is what it is");
    }
    on_devices(&[7], |ample| {
        let drawn = |device: &Device, recorded: bool| {
            let (policy, requests) = endless("qwen2", Precision::Bf16, device, |_| 4);
            let limits = Limits { prefill_tokens: 8, max_sequences: 12, ..limits(72, 120) };
            run(&policy, &requests, &limits, recorded)
        };
        let (want, alone) = drawn(ample, false);
        let least = ample.peak();
        let (found, all) = drawn(ample, true);
        let most = ample.peak();
        assert!(found == want);
        assert!(alone.replayed == 0 && all.replayed > 0 && most > least, "{least} to {most} bytes, {all:?}");
        let mut replayed = Vec::new();
        for memory in [least, (least + most) / 2, most - 1] {
            let (found, progress) = drawn(&Device::emulated_with(7, memory).unwrap(), true);
            assert!(found == want, "{memory} bytes");
            replayed.push(progress.replayed);
        }
        println!("{replayed:?} of {} steps replayed in {least} to {most} bytes", all.replayed);
        assert!(replayed[0] < all.replayed && replayed.iter().any(|n| *n > 0), "{replayed:?}");
    });
}
