//! The rows: each one a function of the seed and its number, and of nothing that comes after it.

use crate::corpus::{Example, Telling, clean, draw_noise, general, spoilt};
use crate::draw::{Draw, Purpose};
use crate::families::Problem;
use crate::families::{
    arithmetic::Arithmetic, chain_sum::ChainSum, comparison::Comparison, countdown::Countdown,
    counting::Counting, date_time::DateTime,
};
use crate::general::Request;
use crate::language::Language;
use crate::noise::{Noise, Shares};
use crate::settings::{Difficulty, Family};
use crate::split::{Side, side};
use crate::worked::{Style, Voice, tell};
use r1_cli::misuse;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// What is written of each problem.
#[derive(Clone, Copy, Debug)]
pub enum Product {
    /// A task with its answer.
    Tasks,
    /// An example to imitate, with this much noise.
    Corpus(Shares),
    /// A better and a worse completion; the worse one has this much noise, and at least some.
    Pairs(Shares),
}

/// Everything that a run is determined by.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seed of all draws.
    pub seed: u64,
    /// Families and their weights.
    pub families: Vec<(Family, f64)>,
    /// Languages and their weights.
    pub languages: Vec<(Language, f64)>,
    /// How hard the problems are.
    pub difficulty: Difficulty,
    /// The side of the split to draw from; none for both.
    pub side: Option<Side>,
    /// Share of the problems held out.
    pub test_share: f64,
    /// No problem twice.
    pub unique: bool,
    /// How many of the phrasings are used, from the plainest on.
    pub phrasings: usize,
    /// How reasoning is told.
    pub style: Style,
    /// Share of the rows whose short reasoning has words.
    pub words: f64,
    /// What is written.
    pub product: Product,
}

/// How often a problem is drawn again that is on the other side of the split, or was there before.
const ATTEMPTS: u64 = 200_000;
/// How often a family may say that its difficulty allows no problem.
const EMPTY_DRAWS: u64 = 20;

/// What a row is about.
enum Drawn {
    Problem(Box<dyn Problem>),
    Request(Request),
}

impl Drawn {
    fn canonical(&self) -> String {
        match self {
            Drawn::Problem(problem) => problem.canonical(),
            Drawn::Request(request) => request.canonical(),
        }
    }

    fn phrasings(&self, language: Language) -> Vec<String> {
        match self {
            Drawn::Problem(problem) => problem.phrasings(language),
            Drawn::Request(request) => request.phrasings(language),
        }
    }
}

/// A row, and the example in it where there is one (for the summary).
pub struct Drafted {
    /// The columns.
    pub columns: Map<String, Value>,
    /// The example that the columns hold.
    pub example: Option<Example>,
}

/// Draws rows one after the other; what it remembers is only which problems there were, and only if none may come twice.
pub struct Rows {
    plan: Plan,
    seen: HashSet<String>,
}

impl Rows {
    /// Rows by a plan.
    pub fn new(plan: Plan) -> Rows {
        Rows { plan, seen: HashSet::new() }
    }

    /// Row number `row`. With `unique`, rows are to be drawn in order from 0. Errors (misuse): no (further) problem is found.
    pub fn draw(&mut self, row: u64) -> anyhow::Result<Drafted> {
        let plan = &self.plan;
        let mut choice = Draw::new(plan.seed, row, 0, Purpose::Choice);
        let family = choice.weighted(&plan.families);
        let language = choice.weighted(&plan.languages);
        let (drawn, canonical, side) = self.find(row, family)?;
        let plan = &self.plan;
        let mut wording = Draw::new(plan.seed, row, 0, Purpose::Wording);
        let mut phrasings = drawn.phrasings(language);
        phrasings.truncate(plan.phrasings);
        let prompt = wording.pick(&phrasings).clone();
        let telling = Telling { language, style: plan.style, words: wording.chance(plan.words) };
        let mut noise = Draw::new(plan.seed, row, 0, Purpose::Noise);

        let mut columns = Map::new();
        let mut put = |name: &str, value: Value| columns.insert(name.to_owned(), value);
        put("id", format!("{}-{}-{}-{row}", family.name(), side.name(), plan.seed).into());
        put("prompt", prompt.into());
        let mut kept = None;
        let mut solution = None;
        match plan.product {
            Product::Tasks => solution = Some(telling),
            Product::Corpus(shares) => {
                let kinds = draw_noise(&shares, &mut noise);
                let example = match &drawn {
                    Drawn::Problem(problem) => spoilt(problem.as_ref(), telling, &kinds, &mut noise),
                    Drawn::Request(request) => general(request, language, &kinds, &mut noise),
                };
                put("completion", example.completion.clone().into());
                kept = Some(example);
            }
            Product::Pairs(shares) => {
                let (chosen, rejected, aspect) = pair(&drawn, telling, &shares, &mut noise);
                put("chosen", chosen.into());
                put("rejected", rejected.completion.clone().into());
                put("aspect", aspect.into());
                kept = Some(rejected);
            }
        }
        match &drawn {
            Drawn::Problem(problem) => {
                put("answer", problem.work(language).answer.into());
                put("task", problem.task().into());
                put("language", language.code().into());
                for (name, value) in problem.columns() {
                    put(&name, value);
                }
                put("family", family.name().into());
                put("canonical", canonical.into());
                put("difficulty", problem.difficulty().into());
                put("split", side.name().into());
                if let Some(telling) = solution {
                    let voice = Voice::Pure(language);
                    put(
                        "solution",
                        tell(&problem.work(language), telling.style, telling.words, voice).into(),
                    );
                }
            }
            Drawn::Request(request) => {
                put("task", "general".into());
                put("language", language.code().into());
                put("family", family.name().into());
                put("canonical", canonical.into());
                put("kind", request.kind().into());
                put("split", side.name().into());
                if solution.is_some() {
                    put("reply", request.reply(language).text.into());
                }
            }
        }
        if let Some(example) = &kept {
            put("noise", json!(example.noise.iter().map(|noise| noise.name()).collect::<Vec<_>>()));
            if matches!(plan.product, Product::Corpus(_)) {
                put("correct", example.correct.into());
            }
        }
        Ok(Drafted { columns, example: kept })
    }

    /// Draws until a problem is on the right side of the split and, where asked for, is new.
    fn find(&mut self, row: u64, family: Family) -> anyhow::Result<(Drawn, String, Side)> {
        let mut empty = 0;
        for attempt in 0..ATTEMPTS {
            let mut draw = Draw::new(self.plan.seed, row, attempt, Purpose::Problem);
            let Some(drawn) = problem(family, &self.plan.difficulty, &mut draw) else {
                empty += 1;
                if empty >= EMPTY_DRAWS {
                    break;
                }
                continue;
            };
            let canonical = drawn.canonical();
            let side = side(&canonical, self.plan.test_share);
            if self.plan.side.is_some_and(|wanted| wanted != side) || self.seen.contains(&canonical) {
                continue;
            }
            if self.plan.unique {
                self.seen.insert(canonical.clone());
            }
            return Ok((drawn, canonical, side));
        }
        if empty >= EMPTY_DRAWS {
            let fact = format!("the difficulty allows no {} problem (or next to none)", family.name());
            return Err(misuse(fact, "give wider ranges"));
        }
        let side = self.plan.side.map_or("", Side::name);
        let seen = if self.plan.unique { " that was not there before" } else { "" };
        Err(misuse(
            format!("row {row}: no {side} {} problem{seen} in {ATTEMPTS} draws", family.name()),
            "give wider difficulty ranges, a smaller --count or a larger --test-share",
        ))
    }
}

/// Draws a problem of a family; none where its difficulty allows none.
fn problem(family: Family, difficulty: &Difficulty, draw: &mut Draw) -> Option<Drawn> {
    fn boxed<P: Problem + 'static>(problem: Option<P>) -> Option<Drawn> {
        problem.map(|problem| Drawn::Problem(Box::new(problem)))
    }
    match family {
        Family::Arithmetic => boxed(Arithmetic::draw(&difficulty.arithmetic, draw)),
        Family::ChainSum => boxed(ChainSum::draw(&difficulty.chain_sum, draw)),
        Family::Countdown => boxed(Countdown::draw(&difficulty.countdown, draw)),
        Family::Comparison => boxed(Comparison::draw(&difficulty.comparison, draw)),
        Family::DateTime => boxed(DateTime::draw(&difficulty.date_time, draw)),
        Family::Counting => boxed(Counting::draw(&difficulty.counting, draw)),
        Family::General => Some(Drawn::Request(Request::draw(draw))),
    }
}

/// A better completion, a worse one, and what makes it worse: `helpful` and `harmless` as the request has it; for problems `correct`
/// where the worse answer is wrong, else `format` or `language`.
fn pair(
    drawn: &Drawn,
    telling: Telling,
    shares: &Shares,
    draw: &mut Draw,
) -> (String, Example, &'static str) {
    match drawn {
        Drawn::Problem(problem) => {
            let problem = problem.as_ref();
            let kinds = draw_noise(shares, draw);
            let mut rejected = spoilt(problem, telling, &kinds, draw);
            if rejected.noise.is_empty() {
                // None of the noise drawn (if any was) can touch this problem; a slip always can.
                rejected = spoilt(problem, telling, &[Noise::Slip], draw);
            }
            let aspect = match () {
                () if !rejected.correct => "correct",
                () if !rejected.formed => "format",
                () => "language",
            };
            (clean(problem, telling).completion, rejected, aspect)
        }
        Drawn::Request(request) => {
            let chosen = general(request, telling.language, &[], draw).completion;
            let worse = request.worse_reply(telling.language, draw);
            let completion = format!("<think>{}</think> <answer>{}</answer>", worse.thought, worse.text);
            let rejected = Example { completion, noise: Vec::new(), correct: false, formed: true };
            (chosen, rejected, request.aspect().name())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::Range;
    use r1_records::{Prompt, Row};

    fn plan(product: Product) -> Plan {
        let difficulty = crate::settings::DifficultyFlags::default().settle(&Family::ALL).unwrap();
        Plan {
            seed: 11,
            families: Family::ALL.map(|family| (family, 1.0)).to_vec(),
            languages: vec![(Language::English, 1.0), (Language::Chinese, 1.0)],
            difficulty,
            side: None,
            test_share: 0.1,
            unique: false,
            phrasings: usize::MAX,
            style: Style::Short,
            words: 0.2,
            product,
        }
    }

    fn record(rows: &mut Rows, row: u64) -> Row {
        let columns = rows.draw(row).unwrap().columns;
        Row::parse(&r1_records::to_json(&columns).unwrap()).unwrap()
    }

    #[test]
    fn every_product_is_what_the_records_understand() {
        for row in 0..700 {
            let task = record(&mut Rows::new(plan(Product::Tasks)), row);
            assert!(matches!(task.prompt().unwrap(), Prompt::Text(text) if !text.is_empty()));
            assert_eq!(task.answer().unwrap().is_none(), task.task().unwrap() == "general");
            assert!(task.id().unwrap().is_some());
            let example = record(&mut Rows::new(plan(Product::Corpus(Shares::DEFAULT))), row);
            assert!(!example.example().unwrap().completion.is_empty());
            let pair =
                record(&mut Rows::new(plan(Product::Pairs(Shares::DEFAULT))), row).preference().unwrap();
            assert_ne!(pair.chosen, pair.rejected);
            // Noise and product change neither problem nor wording.
            for other in [&example, &record(&mut Rows::new(plan(Product::Pairs(Shares::NONE))), row)] {
                assert_eq!(other.prompt().unwrap(), task.prompt().unwrap());
                assert_eq!(other.id().unwrap(), task.id().unwrap());
                assert_eq!(other.answer().unwrap(), task.answer().unwrap());
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_those_before_it() {
        let mut in_order = Rows::new(plan(Product::Tasks));
        let mut backwards = Rows::new(plan(Product::Tasks));
        let forth: Vec<_> = (0..200).map(|row| in_order.draw(row).unwrap().columns).collect();
        let mut back: Vec<_> = (0..200).rev().map(|row| backwards.draw(row).unwrap().columns).collect();
        back.reverse();
        assert_eq!(forth, back);
    }

    #[test]
    fn what_cannot_be_drawn_is_said_and_not_searched_for_ever() {
        let mut impossible = plan(Product::Tasks);
        impossible.families = vec![(Family::Countdown, 1.0)];
        impossible.difficulty.countdown.tile_values = Range::of(1, 2);
        impossible.difficulty.countdown.targets = Range::of(900, 999);
        let error = Rows::new(impossible).draw(0).err().unwrap().to_string();
        assert!(error.contains("countdown"), "{error}");
        let mut few = plan(Product::Tasks);
        few.families = vec![(Family::Arithmetic, 1.0)];
        few.difficulty.arithmetic.operators = Range::of(1, 1);
        few.difficulty.arithmetic.operands = Range::of(1, 2);
        few.unique = true;
        let mut rows = Rows::new(few);
        // Three operations on two numbers twice: twelve problems, and no thirteenth.
        for row in 0..12 {
            rows.draw(row).unwrap();
        }
        assert!(rows.draw(12).is_err());
    }
}
