//! Counting: letters of a word, digits of a number, things of a kind in a list.

use super::{Problem, columns, near};
use crate::draw::Draw;
use crate::language::{Bilingual, Language, list};
use crate::range::Range;
use crate::worked::{Hint, Worked};
use serde_json::{Map, Value};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A letter in a made-up word.
    Letter,
    /// A digit in a number.
    Digit,
    /// Things of one kind in a list.
    Item,
}

/// How hard the counting is.
#[derive(Clone, Debug)]
pub struct Difficulty {
    /// Which kinds, each as likely as the other.
    pub kinds: Vec<Kind>,
    /// How many letters, digits or things there are to look at.
    pub length: Range,
}

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub enum Counting {
    /// How often is the letter in the word?
    Letter { word: String, letter: char },
    /// How often is the digit in the number?
    Digit { number: String, digit: char },
    /// How many things of the category are in the list? (category, place in the category) each.
    Item { list: Vec<(usize, usize)>, category: usize },
}

/// A category and the things in it. No thing is in two categories.
struct Category {
    name: Bilingual<&'static str>,
    things: [Bilingual<&'static str>; 8],
}

const CATEGORIES: [Category; 4] = [
    Category {
        name: ["fruits", "水果"],
        things: [
            ["apple", "苹果"],
            ["pear", "梨"],
            ["banana", "香蕉"],
            ["grape", "葡萄"],
            ["mango", "芒果"],
            ["lemon", "柠檬"],
            ["cherry", "樱桃"],
            ["melon", "甜瓜"],
        ],
    },
    Category {
        name: ["animals", "动物"],
        things: [
            ["cat", "猫"],
            ["dog", "狗"],
            ["horse", "马"],
            ["cow", "牛"],
            ["sheep", "羊"],
            ["rabbit", "兔子"],
            ["tiger", "老虎"],
            ["duck", "鸭子"],
        ],
    },
    Category {
        name: ["tools", "工具"],
        things: [
            ["hammer", "锤子"],
            ["saw", "锯子"],
            ["axe", "斧头"],
            ["drill", "电钻"],
            ["pliers", "钳子"],
            ["wrench", "扳手"],
            ["chisel", "凿子"],
            ["ruler", "尺子"],
        ],
    },
    Category {
        name: ["clothes", "衣服"],
        things: [
            ["shirt", "衬衫"],
            ["coat", "大衣"],
            ["skirt", "裙子"],
            ["dress", "连衣裙"],
            ["sweater", "毛衣"],
            ["jacket", "夹克"],
            ["vest", "背心"],
            ["trousers", "裤子"],
        ],
    },
];

impl Counting {
    /// Draws a question. What is counted is there at least once in most draws, so that the answer is not mostly 0.
    pub fn draw(difficulty: &Difficulty, draw: &mut Draw) -> Option<Counting> {
        let kind = *draw.pick(&difficulty.kinds);
        let length = draw.between(difficulty.length.low, difficulty.length.high) as usize;
        let present = draw.chance(0.9);
        Some(match kind {
            Kind::Letter => {
                let word = word(length, draw);
                let letters: Vec<char> = word.chars().collect();
                let letter = if present { *draw.pick(&letters) } else { *draw.pick(&ALPHABET) };
                Counting::Letter { word, letter }
            }
            Kind::Digit => {
                // A few digits only, so that they repeat; the first one is not 0.
                let few: Vec<char> = (0..3).map(|_| digit(draw.between(0, 9))).collect();
                let first = digit(draw.between(1, 9));
                let number: String =
                    (0..length).map(|i| if i == 0 { first } else { *draw.pick(&few) }).collect();
                let digit = if present { *draw.pick(&few) } else { digit(draw.between(0, 9)) };
                Counting::Digit { number, digit }
            }
            Kind::Item => {
                let list: Vec<(usize, usize)> =
                    (0..length).map(|_| (draw.below(4) as usize, draw.below(8) as usize)).collect();
                let category = if present { draw.pick(&list).0 } else { draw.below(4) as usize };
                Counting::Item { list, category }
            }
        })
    }

    /// The running count: each element with the count so far.
    fn running(&self, language: Language) -> (Vec<String>, i64) {
        let elements: Vec<(String, bool)> = match self {
            Counting::Letter { word: text, letter: wanted }
            | Counting::Digit { number: text, digit: wanted } => {
                text.chars().map(|c| (c.to_string(), c == *wanted)).collect()
            }
            Counting::Item { list, category } => {
                list.iter().map(|&(own, thing)| (name(own, thing, language), own == *category)).collect()
            }
        };
        let mut count = 0;
        let mut steps = Vec::new();
        for (element, counts) in elements {
            count += i64::from(counts);
            steps.push(format!("{element} {count}"));
        }
        (steps, count)
    }
}

const ALPHABET: [char; 26] = [
    'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u',
    'v', 'w', 'x', 'y', 'z',
];

fn digit(value: i64) -> char {
    char::from(b'0' + value as u8)
}

fn name(category: usize, thing: usize, language: Language) -> String {
    language.of(CATEGORIES[category].things[thing]).to_owned()
}

/// A made-up word: consonants and vowels in turn, from few letters, so that letters repeat.
fn word(length: usize, draw: &mut Draw) -> String {
    let consonants: Vec<char> =
        (0..3).map(|_| *draw.pick(&['b', 'd', 'g', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't'])).collect();
    let vowels: Vec<char> = (0..2).map(|_| *draw.pick(&['a', 'e', 'i', 'o', 'u'])).collect();
    let start = draw.below(2) as usize;
    (0..length)
        .map(|i| *draw.pick(if (i + start).is_multiple_of(2) { &consonants } else { &vowels }))
        .collect()
}

impl Problem for Counting {
    fn canonical(&self) -> String {
        match self {
            Counting::Letter { word, letter } => format!("count {letter} in {word}"),
            Counting::Digit { number, digit } => format!("count {digit} in {number}"),
            Counting::Item { list: items, category } => {
                let mut names: Vec<String> =
                    items.iter().map(|&(own, thing)| name(own, thing, Language::English)).collect();
                // The order of the list changes nothing about the problem.
                names.sort_unstable();
                format!("count {} in {}", CATEGORIES[*category].name[0], list(&names, Language::English))
            }
        }
    }

    fn task(&self) -> &'static str {
        "math"
    }

    fn difficulty(&self) -> Map<String, Value> {
        let (kind, length) = match self {
            Counting::Letter { word, .. } => ("letter", word.len()),
            Counting::Digit { number, .. } => ("digit", number.len()),
            Counting::Item { list, .. } => ("item", list.len()),
        };
        columns([("kind", kind.into()), ("length", length.into())])
    }

    fn phrasings(&self, language: Language) -> Vec<String> {
        let english = language == Language::English;
        let both = |en: [String; 3], zh: [String; 3]| Vec::from(if english { en } else { zh });
        match self {
            Counting::Letter { word, letter } => both(
                [
                    format!("How many times does the letter {letter} appear in {word}?"),
                    format!("How many {letter} are there in the word {word}?"),
                    format!("Count the letter {letter} in {word}."),
                ],
                [
                    format!("字母 {letter} 在 {word} 中出现几次？"),
                    format!("单词 {word} 里有几个 {letter}？"),
                    format!("数一数 {word} 中的字母 {letter}。"),
                ],
            ),
            Counting::Digit { number, digit } => both(
                [
                    format!("How many times does the digit {digit} appear in {number}?"),
                    format!("How many {digit} are there in the number {number}?"),
                    format!("Count the digit {digit} in {number}."),
                ],
                [
                    format!("数字 {digit} 在 {number} 中出现几次？"),
                    format!("{number} 里有几个 {digit}？"),
                    format!("数一数 {number} 中的数字 {digit}。"),
                ],
            ),
            Counting::Item { list: items, category } => {
                let names: Vec<String> =
                    items.iter().map(|&(own, thing)| name(own, thing, language)).collect();
                let things = list(&names, language);
                let category = language.of(CATEGORIES[*category].name);
                both(
                    [
                        format!("How many {category} are in this list: {things}?"),
                        format!("Here is a list: {things}. How many {category} are in it?"),
                        format!("Count the {category}: {things}."),
                    ],
                    [
                        format!("下面有几个{category}：{things}？"),
                        format!("清单：{things}。其中有几个{category}？"),
                        format!("数一数{category}：{things}。"),
                    ],
                )
            }
        }
    }

    fn work(&self, language: Language) -> Worked {
        let (steps, count) = self.running(language);
        let length = steps.len() as i64;
        // Those that do not count and those that do make up the whole.
        let check = format!("{length} - {} = {count}", length - count);
        Worked { hint: Hint::Nothing, steps, running: true, check, answer: count.to_string() }
    }

    fn wrong_answer(&self, language: Language, draw: &mut Draw) -> String {
        let (_, count) = self.running(language);
        // A count is not negative, even a wrong one.
        let wrong = near(count, draw);
        (if wrong < 0 { count + 1 } else { wrong }).to_string()
    }
}
