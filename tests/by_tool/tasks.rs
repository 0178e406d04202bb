//! r1-tasks: every claim in its rows is computed again by other means (`oracle`), from the text of the prompt.

mod noise;
mod oracle;

use crate::harness::{Outcome, run, scratch};
use oracle::{Fraction, expression, julian_day_of, minutes_of, pieces, steps_hold, value};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const FAMILIES: [&str; 6] = ["arithmetic", "chain-sum", "countdown", "comparison", "date-time", "counting"];

fn tasks(flags: &str) -> Outcome {
    run("r1-tasks", &flags.split_whitespace().collect::<Vec<_>>(), "")
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {row}"))
}

fn whole(text: &str) -> Fraction {
    Fraction(text.parse().unwrap_or_else(|_| panic!("no whole number: {text}")), 1)
}

fn han(text: &str) -> bool {
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

#[test]
fn arithmetic_answers_and_steps_hold() {
    let kinds = [
        "--operators 1-3 --operands 1-9",
        "--operators 2 --order-matters 1",
        "--operators 2-5 --operands -20-20 --operations +-*/ --parentheses 0.5",
        "--operators 3 --operands 0-12 --operations */ --parentheses 0.5 --non-negative",
        "--operators 1-8 --operands 1-999 --operations +-*/ --parentheses 1 --order-matters 0.5",
        "--operators 1 --operands 2-1000000 --operations /",
        "--family chain-sum --terms 2-8 --addends -50-50",
        "--family chain-sum --non-negative",
    ];
    for kind in kinds {
        for row in tasks(&format!("-n 1500 --words 0 --language en --language zh {kind}")).rows() {
            let asked = expression(text(&row, "prompt"));
            assert_eq!(asked, text(&row, "canonical"));
            let answer = text(&row, "answer");
            assert_eq!(value(asked), Some(whole(answer)), "{row}");
            assert_eq!(steps_hold(text(&row, "solution")), Ok(whole(answer).0), "{row}");
            if kind.contains("--order-matters 1") {
                assert_ne!(oracle::left_to_right(asked), Some(whole(answer).0), "{row}");
            }
            if kind.contains("--parentheses 1") && row["difficulty"]["operators"] != 1 {
                assert!(asked.contains('('), "{row}");
            }
            if kind.contains("--non-negative") {
                assert!(!text(&row, "solution").contains("= -"), "{row}");
            }
        }
    }
}

#[test]
fn countdown_solutions_reach_the_target_with_each_number_at_most_once() {
    for kind in ["", "--tiles 2-6 --tile-values 1-100 --targets 1-999"] {
        for row in
            tasks(&format!("--family countdown -n 1500 --words 0 --language en --language zh {kind}")).rows()
        {
            let given: Vec<i128> = row["nums"]
                .as_array()
                .unwrap()
                .iter()
                .map(|number| number.as_i64().unwrap().into())
                .collect();
            let target = i128::from(row["target"].as_i64().unwrap());
            let mut asked: Vec<i128> =
                pieces(text(&row, "prompt"), "").iter().map(|n| n.parse().unwrap()).collect();
            let mut told: Vec<i128> = given.iter().copied().chain([target]).collect();
            asked.sort_unstable();
            told.sort_unstable();
            assert_eq!(asked, told, "the prompt tells the numbers and the target: {row}");
            let answer = text(&row, "answer");
            assert_eq!(value(answer), Some(Fraction(target, 1)), "{row}");
            let mut left = given;
            for token in oracle::tokens(answer).unwrap() {
                if let oracle::Token::Number(number) = token {
                    let place = left.iter().position(|&tile| tile == number);
                    left.swap_remove(place.unwrap_or_else(|| panic!("{number} is used too often: {row}")));
                }
            }
            assert_eq!(steps_hold(text(&row, "solution")), Ok(target), "{row}");
            assert_eq!(row["task"], "countdown");
        }
    }
}

#[test]
fn comparisons_name_the_extreme() {
    let fraction = |text: &str| -> Fraction {
        if let Some((numerator, denominator)) = text.split_once('/') {
            return Fraction(numerator.parse().unwrap(), denominator.parse().unwrap());
        }
        match text.split_once('.') {
            Some((_, places)) => {
                Fraction(text.replace('.', "").parse().unwrap(), 10i128.pow(places.len() as u32))
            }
            None => whole(text),
        }
    };
    for row in
        tasks("--family comparison -n 4000 --compared 2-5 --sizes -40-40 --language en --language zh").rows()
    {
        let prompt = text(&row, "prompt");
        let numbers = pieces(prompt, "-./");
        assert_eq!(numbers.len() as u64, row["difficulty"]["compared"].as_u64().unwrap(), "{row}");
        let largest = prompt.contains("larg") || prompt.contains('大');
        assert_ne!(largest, prompt.contains("small") || prompt.contains('小'), "{row}");
        let answer = fraction(text(&row, "answer"));
        let mut equal = 0;
        for number in numbers {
            let number = fraction(number);
            let difference = answer.0 * number.1 - number.0 * answer.1;
            assert!(if largest { difference >= 0 } else { difference <= 0 }, "{row}");
            equal += usize::from(difference == 0);
        }
        assert_eq!(equal, 1, "one number is the answer: {row}");
    }
}

#[test]
fn dates_and_times_agree_with_julian_days() {
    const NAMES: [[&str; 2]; 7] = [
        ["Monday", "星期一"],
        ["Tuesday", "星期二"],
        ["Wednesday", "星期三"],
        ["Thursday", "星期四"],
        ["Friday", "星期五"],
        ["Saturday", "星期六"],
        ["Sunday", "星期日"],
    ];
    let weekday = |text: &str| NAMES.iter().position(|names| names.iter().any(|name| text.contains(name)));
    let mut kinds: HashMap<String, u32> = HashMap::new();
    for flags in ["", "--years 1583-2400 --span 1-2000 --minutes 1-1439"] {
        for row in tasks(&format!("--family date-time -n 4000 --language en --language zh {flags}")).rows() {
            let (prompt, answer) = (text(&row, "prompt"), text(&row, "answer"));
            let dates: Vec<&str> =
                pieces(prompt, "-").into_iter().filter(|piece| piece.len() == 10).collect();
            let times: Vec<&str> =
                pieces(prompt, ":").into_iter().filter(|piece| piece.contains(':')).collect();
            let number = || -> i64 {
                let plain = pieces(prompt, "-:").into_iter().filter(|piece| !piece.contains(['-', ':']));
                plain.map(|piece| piece.parse().unwrap()).next().expect("a number in the prompt")
            };
            let kind = text(&row["difficulty"], "kind");
            *kinds.entry(kind.to_owned()).or_default() += 1;
            let (holds, task) = match kind {
                "clock" => ((minutes_of(times[0]) + number()) % 1440 == minutes_of(answer), "exact"),
                "elapsed" => {
                    let days: Vec<i64> = times.iter().map(|time| minutes_of(time)).collect();
                    (
                        days.iter().max().unwrap() - days.iter().min().unwrap()
                            == answer.parse::<i64>().unwrap(),
                        "math",
                    )
                }
                "weekday" => {
                    let today = weekday(prompt).unwrap() as i64;
                    (weekday(answer).unwrap() as i64 == (today + number()) % 7, "exact")
                }
                "days" => {
                    let days = julian_day_of(dates[0]).abs_diff(julian_day_of(dates[1]));
                    (days == answer.parse::<u64>().unwrap(), "math")
                }
                "date" => (julian_day_of(dates[0]) + number() == julian_day_of(answer), "exact"),
                "date-weekday" => {
                    let told = dates.iter().find(|date| {
                        let day = julian_day_of(date) % 7;
                        weekday(prompt).unwrap() as i64 == day
                            && (prompt.find(*date) < prompt.find(" is a ") || han(prompt))
                    });
                    let wanted =
                        dates.iter().any(|date| weekday(answer).unwrap() as i64 == julian_day_of(date) % 7);
                    (told.is_some() && wanted && dates[0] != dates[1], "exact")
                }
                other => panic!("kind {other}"),
            };
            assert!(holds, "{row}");
            assert_eq!(text(&row, "task"), task);
            if task == "exact" && answer.len() == 10 && answer.contains('-') {
                assert!(
                    answer[5..7].parse::<u32>().unwrap() <= 12 && answer[8..].parse::<u32>().unwrap() <= 31
                );
            }
        }
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}

#[test]
fn counts_are_right() {
    let fruits = ["apple", "pear", "banana", "grape", "mango", "lemon", "cherry", "melon"];
    let animals = ["cat", "dog", "horse", "cow", "sheep", "rabbit", "tiger", "duck"];
    let tools = ["hammer", "saw", "axe", "drill", "pliers", "wrench", "chisel", "ruler"];
    let clothes = ["shirt", "coat", "skirt", "dress", "sweater", "jacket", "vest", "trousers"];
    let things =
        HashMap::from([("fruits", fruits), ("animals", animals), ("tools", tools), ("clothes", clothes)]);
    let english = tasks("--family counting -n 4000 --length 1-20").rows();
    for row in &english {
        let (prompt, canonical) = (text(row, "prompt"), text(row, "canonical"));
        let (wanted, within) = canonical.strip_prefix("count ").unwrap().split_once(" in ").unwrap();
        assert!(prompt.contains(wanted), "{row}");
        let count = match things.get(wanted) {
            Some(things) => {
                let listed: Vec<&str> = within.split(", ").collect();
                assert!(listed.iter().all(|thing| prompt.contains(thing)), "{row}");
                listed.iter().filter(|thing| things.contains(thing)).count()
            }
            None => {
                assert!(prompt.contains(within), "{row}");
                within.matches(wanted).count()
            }
        };
        assert_eq!(text(row, "answer"), count.to_string(), "{row}");
    }
    // The same seed draws the same problems in the other language, so the same counts.
    for (english, chinese) in
        english.iter().zip(tasks("--family counting -n 4000 --length 1-20 --language zh").rows())
    {
        assert_eq!((&english["canonical"], &english["answer"]), (&chinese["canonical"], &chinese["answer"]));
    }
}

#[test]
fn train_and_test_share_no_problem() {
    let flags = [
        "--operators 1-2 --operands 1-9",
        "--operators 1-2 --operands 1-9 --language zh --phrasings 2 --operations +-*/ --parentheses 0.5",
        "--family chain-sum --terms 2-3 --addends 1-9 --language zh=2 --language en",
        "--family countdown --tiles 2-3 --tile-values 1-9 --targets 1-30",
        "--family comparison --compared 2 --sizes 1-12 --language zh",
        "--family comparison --compared 2 --sizes 1-12",
        "--family date-time --span 1-20 --minutes 5-20 --years 2024 --language en --language zh",
        "--family counting --length 1-3 --language en --language zh",
        "--family general --language en --language zh",
    ];
    let mut sides: [HashSet<String>; 2] = Default::default();
    for flags in flags {
        for (side, name) in ["train", "test"].into_iter().enumerate() {
            for seed in 0..3 {
                // Different seeds and products on the two sides: the side is the problem's own.
                let product = ["", "--corpus", "--pairs"][(side + seed) % 3];
                let command = format!("-n 700 --split {name} --seed {} {product} {flags}", 10 * side + seed);
                for row in tasks(&command).rows() {
                    assert_eq!(text(&row, "split"), name);
                    let problem = match text(&row, "family") {
                        "arithmetic" | "chain-sum" => expression(text(&row, "prompt")).to_owned(),
                        "countdown" => {
                            let mut numbers: Vec<u64> =
                                row["nums"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
                            numbers.sort_unstable();
                            format!("{numbers:?} {}", row["target"])
                        }
                        _ => text(&row, "canonical").to_owned(),
                    };
                    sides[side].insert(problem);
                }
            }
        }
    }
    assert!(sides.iter().all(|side| side.len() > 300), "{} {}", sides[0].len(), sides[1].len());
    let both: Vec<&String> = sides[0].intersection(&sides[1]).collect();
    assert!(both.is_empty(), "on both sides: {both:?}");
}

#[test]
fn test_share_is_the_share_of_problems() {
    let rows = tasks("-n 6000 --operators 3 --test-share 0.25 --unique").rows();
    let test = rows.iter().filter(|row| row["split"] == "test").count() as f64;
    // Five standard deviations of a binomial(6000, 1/4).
    assert!((test - 1500.0).abs() < 5.0 * 33.5, "{test}");
    let problems: HashSet<&str> = rows.iter().map(|row| text(row, "canonical")).collect();
    assert_eq!(problems.len(), 6000, "--unique");
    let ids: HashSet<&str> = rows.iter().map(|row| text(row, "id")).collect();
    assert_eq!(ids.len(), 6000);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_a_longer_run_begins_with_the_shorter() {
    let mixture: String = FAMILIES.iter().map(|family| format!("--family {family} ")).collect();
    let mixture = format!("{mixture} --family general=2 --language en --language zh");
    for product in ["", "--corpus", "--pairs", "--unique", "--split test --style reflect", "--style long"] {
        let command = |count: u32, seed: u32| format!("-n {count} --seed {seed} {product} {mixture}");
        let long = tasks(&command(300, 5)).success();
        assert_eq!(long, tasks(&command(300, 5)).success());
        let short = tasks(&command(40, 5)).success();
        assert!(long.starts_with(&short) && short.lines().count() == 40);
        assert_ne!(short, tasks(&command(40, 6)).success());
    }
}

/// Whoever changes the generator changes every data set that was drawn with it: this is where it shows.
#[test]
fn what_a_seed_draws_never_changes() {
    for (family, prompt) in [
        ("arithmetic", "What is 6 - 8?"),
        ("chain-sum", "What is 18 - 2 - 13 + 17?"),
        ("countdown", "Make 65 from 13, 5, 25, 21. Use each number at most once."),
        ("comparison", "Which number is the smallest: 10.80, 62.04, 96.75?"),
        ("date-time", "Today is Sunday. Which day of the week is it in 6 days?"),
        ("counting", "How many times does the digit 6 appear in 96666686?"),
        ("general", "I am Ben. Which languages do you speak?"),
    ] {
        assert_eq!(text(&tasks(&format!("-n 1 --seed 1 --family {family}")).rows()[0], "prompt"), prompt);
    }
}

#[test]
fn prompts_are_in_the_language_of_the_row_and_in_several_phrasings() {
    for family in FAMILIES.into_iter().chain(["general"]) {
        let mut openings: HashMap<bool, HashSet<String>> = HashMap::new();
        for row in tasks(&format!("-n 600 --family {family} --language en --language zh")).rows() {
            let (prompt, chinese) = (text(&row, "prompt"), text(&row, "language") == "zh");
            assert!(!chinese || han(prompt) || prompt.ends_with('？'), "{row}");
            assert!(chinese || !han(prompt), "{row}");
            let opening: String =
                prompt.chars().filter(|c| !c.is_ascii_digit() && !"+-*/() .".contains(*c)).collect();
            openings.entry(chinese).or_default().insert(opening);
        }
        assert!(openings.len() == 2 && openings.values().all(|of| of.len() >= 2), "{family}: {openings:?}");
    }
    for row in tasks("-n 50 --operators 2 --phrasings 1").rows() {
        assert_eq!(text(&row, "prompt"), format!("What is {}?", text(&row, "canonical")));
    }
}

#[test]
fn families_and_languages_come_in_their_shares() {
    let rows = tasks("-n 4000 --family arithmetic=3 --family counting --language en --language zh=3").rows();
    let share =
        |name: &str, value: &str| rows.iter().filter(|row| row[name] == value).count() as f64 / 4000.0;
    assert!((share("family", "arithmetic") - 0.75).abs() < 0.035);
    assert!((share("language", "zh") - 0.75).abs() < 0.035);
}

#[test]
fn what_is_misused_is_refused_in_one_line() {
    let cases: [(&str, &[&str]); 16] = [
        ("--family arithmetics", &["arithmetics", "countdown"]),
        ("--family counting --family counting=2", &["--family", "twice"]),
        ("--family counting=0", &["weight"]),
        ("--language fr", &["fr", "en, zh"]),
        ("--operators 3-1", &["3 is above 1"]),
        ("--operators 0-2", &["--operators", "0-2", "1-20"]),
        ("--terms 3", &["--terms", "--family chain-sum"]),
        ("--family countdown --operands 1-5", &["--operands", "arithmetic"]),
        ("--noise slip=0.1", &["--noise", "--corpus"]),
        ("--corpus --noise slip=1.5", &["1.5"]),
        ("--corpus --noise typo=0.5", &["typo", "gibberish"]),
        ("--corpus --pairs", &["--corpus", "--pairs"]),
        ("--words 0.5 --style long", &["--words"]),
        ("--count 0", &["0"]),
        ("--split test --test-share 0", &["test", "--test-share"]),
        ("--unique --operators 1 --operands 1-3 --count 28", &["row 27", "--count"]),
    ];
    for (flags, words) in cases {
        let outcome = tasks(flags);
        outcome.refused(2, words);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
}

#[test]
fn a_file_is_there_only_when_it_is_whole() {
    let scratch = scratch();
    let file = scratch.path().join("tasks.jsonl");
    let path = file.to_str().unwrap();
    // The 28th different problem does not exist: nothing is left behind, not even the 27 that do.
    tasks(&format!("--unique --operators 1 --operands 1-3 --count 28 -o {path}")).refused(2, &["row 27"]);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert_eq!(tasks(&format!("--unique --operators 1 --operands 1-3 --count 27 -o {path}")).success(), "");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 27);
}
