//! General requests: greetings, short pieces of writing, questions about itself, simple facts, and requests to refuse.
//!
//! They have no answer that a rule could verify; a reference reply and a worse one go with each, so that a preference model can be
//! trained and the last stages of the recipe have something besides reasoning. Replies carry a one-sentence thought so that
//! the format reward means the same on them as on reasoning (the paper adds it to the general reward too).

mod phrases;

use crate::draw::Draw;
use crate::language::Language;
use phrases::{ADDRESSES, CAPITALS, FAVOURS, GIFTS, GREETINGS, HARMS, IDENTITY, NAMES, OPPOSITES, PERSONS};

/// One request; the numbers are places in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Someone says hello and gives a name.
    Greeting { greeting: usize, name: usize },
    /// A polite sentence that asks a person for a favour.
    Favour { person: usize, favour: usize },
    /// A sentence that thanks a person.
    Thanks { person: usize, gift: usize },
    /// Someone asks what the assistant is.
    Identity { question: usize, name: usize },
    /// The capital of a country.
    Capital { country: usize },
    /// The opposite of a word.
    Opposite { word: usize },
    /// Help with something that harms a person.
    Harm { act: usize, person: usize },
}

/// A reply, and what was thought before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reasoning: one short sentence.
    pub thought: String,
    /// What is said.
    pub text: String,
}

/// What a preference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// The chosen reply is of more use.
    Helpful,
    /// The chosen reply does no harm.
    Harmless,
}

impl Aspect {
    /// The word in the `aspect` column, as in `judgement`.
    pub fn name(self) -> &'static str {
        match self {
            Aspect::Helpful => "helpful",
            Aspect::Harmless => "harmless",
        }
    }
}

impl Request {
    /// Draws a request; every kind is as likely as the other, but harm twice as likely, so that refusals are learnt.
    pub fn draw(draw: &mut Draw) -> Request {
        let kind = draw.below(8);
        let mut place = |table: usize| draw.below(table as u64) as usize;
        match kind {
            0 => Request::Greeting { greeting: place(GREETINGS.len()), name: place(NAMES.len()) },
            1 => Request::Favour { person: place(PERSONS.len()), favour: place(FAVOURS.len()) },
            2 => Request::Thanks { person: place(PERSONS.len()), gift: place(GIFTS.len()) },
            3 => Request::Identity { question: place(IDENTITY.len()), name: place(NAMES.len()) },
            4 => Request::Capital { country: place(CAPITALS.len()) },
            5 => Request::Opposite { word: place(OPPOSITES.len()) },
            _ => Request::Harm { act: place(HARMS.len()), person: place(PERSONS.len()) },
        }
    }

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Request::Greeting { .. } => "greeting",
            Request::Favour { .. } => "favour",
            Request::Thanks { .. } => "thanks",
            Request::Identity { .. } => "identity",
            Request::Capital { .. } => "capital",
            Request::Opposite { .. } => "opposite",
            Request::Harm { .. } => "harm",
        }
    }

    /// The request itself, without wording or language.
    pub fn canonical(&self) -> String {
        let subject = match *self {
            Request::Greeting { greeting, name } => {
                format!("{} {}", GREETINGS[greeting][0][0], NAMES[name][0])
            }
            Request::Favour { person, favour } => format!("{}: {}", PERSONS[person][0], FAVOURS[favour][0]),
            Request::Thanks { person, gift } => format!("{}: {}", PERSONS[person][0], GIFTS[gift][0]),
            Request::Identity { question, name } => {
                format!("{} {}", IDENTITY[question][0][0], NAMES[name][0])
            }
            Request::Capital { country } => CAPITALS[country][0][0].to_owned(),
            Request::Opposite { word } => OPPOSITES[word][0][0].to_owned(),
            Request::Harm { act, person } => HARMS[act][0][0].replace("{p}", PERSONS[person][0]),
        };
        format!("{} {subject}", self.kind())
    }

    /// What a preference between replies is about.
    pub fn aspect(&self) -> Aspect {
        if matches!(self, Request::Harm { .. }) { Aspect::Harmless } else { Aspect::Helpful }
    }

    /// Every way to say it, the plainest first.
    pub fn phrasings(&self, language: Language) -> Vec<String> {
        let english = language == Language::English;
        let both = |en: [String; 2], zh: [String; 2]| Vec::from(if english { en } else { zh });
        match *self {
            Request::Greeting { greeting, name } => {
                let (greeting, name) = (language.of(GREETINGS[greeting][0]), language.of(NAMES[name]));
                both(
                    [format!("{greeting}! I am {name}."), format!("{greeting}, my name is {name}.")],
                    [format!("{greeting}！我是{name}。"), format!("{greeting}，我叫{name}。")],
                )
            }
            Request::Favour { person, favour } => {
                let (person, favour) = (language.of(PERSONS[person]), language.of(FAVOURS[favour]));
                both(
                    [
                        format!("Write a polite sentence asking {person} to {favour}."),
                        format!("How do I ask {person} politely to {favour}?"),
                    ],
                    [
                        format!("写一句话，礼貌地请{person}{favour}。"),
                        format!("怎样礼貌地请{person}{favour}？"),
                    ],
                )
            }
            Request::Thanks { person, gift } => {
                let (person, gift) = (language.of(PERSONS[person]), language.of(GIFTS[gift]));
                both(
                    [
                        format!("Write a sentence to thank {person} for {gift}."),
                        format!("How do I thank {person} for {gift}?"),
                    ],
                    [format!("写一句话，感谢{person}的{gift}。"), format!("怎样感谢{person}的{gift}？")],
                )
            }
            Request::Identity { question, name } => {
                let (question, name) = (language.of(IDENTITY[question][0]), language.of(NAMES[name]));
                both(
                    [format!("I am {name}. {question}"), format!("Hello from {name}. {question}")],
                    [format!("我是{name}。{question}"), format!("你好，我叫{name}。{question}")],
                )
            }
            Request::Capital { country } => {
                let country = language.of(CAPITALS[country][0]);
                both(
                    [format!("What is the capital of {country}?"), format!("Name the capital of {country}.")],
                    [format!("{country}的首都是哪里？"), format!("请说出{country}的首都。")],
                )
            }
            Request::Opposite { word } => {
                let word = language.of(OPPOSITES[word][0]);
                both(
                    [format!("What is the opposite of {word}?"), format!("Name the opposite of {word}.")],
                    [format!("“{word}”的反义词是什么？"), format!("请说出“{word}”的反义词。")],
                )
            }
            Request::Harm { act, person } => {
                let act = harm(act, person, language);
                both(
                    [format!("How can I {act}?"), format!("Tell me how to {act}.")],
                    [format!("我怎样才能{act}？"), format!("告诉我怎么{act}。")],
                )
            }
        }
    }

    /// A good reply.
    pub fn reply(&self, language: Language) -> Reply {
        let english = language == Language::English;
        let (thought, text) = match *self {
            Request::Greeting { greeting, name } => {
                let (back, name) = (language.of(GREETINGS[greeting][1]), language.of(NAMES[name]));
                let text = if english {
                    format!("{back}, {name}! How can I help you?")
                } else {
                    format!("{back}，{name}！我能帮你什么？")
                };
                (["a greeting, I greet back", "对方问好，我也问好"], text)
            }
            Request::Favour { person, favour } => {
                let (address, favour) = (language.of(ADDRESSES[person]), language.of(FAVOURS[favour]));
                let text = if english {
                    format!("{address}, could you please {favour}? Thank you!")
                } else {
                    format!("{address}，可以请您{favour}吗？谢谢！")
                };
                (["a polite request with please", "写礼貌的请求，用“请”"], text)
            }
            Request::Thanks { person, gift } => {
                let (address, gift) = (language.of(ADDRESSES[person]), language.of(GIFTS[gift]));
                let text = if english {
                    format!("{address}, thank you very much for {gift}!")
                } else {
                    format!("{address}，非常感谢您的{gift}！")
                };
                (["a warm thank you", "写一句真诚的感谢"], text)
            }
            Request::Identity { question, .. } => (
                ["a question about me, I say what is true", "问的是我，我如实回答"],
                language.of(IDENTITY[question][1]).to_owned(),
            ),
            Request::Capital { country } => {
                let [country, capital] = CAPITALS[country].map(|text| language.of(text));
                let text = if english {
                    format!("The capital of {country} is {capital}.")
                } else {
                    format!("{country}的首都是{capital}。")
                };
                (["I recall the capital", "回想这个国家的首都"], text)
            }
            Request::Opposite { word } => {
                let [word, opposite] = OPPOSITES[word].map(|text| language.of(text));
                let text = if english {
                    format!("The opposite of {word} is {opposite}.")
                } else {
                    format!("“{word}”的反义词是“{opposite}”。")
                };
                (["I look for the opposite word", "找意思相反的词"], text)
            }
            Request::Harm { act, .. } => {
                let instead = language.of(HARMS[act][1]);
                let text = if english {
                    format!("I cannot help with that, it would hurt someone. {instead}")
                } else {
                    format!("这件事我不能帮忙，会伤害别人。{instead}")
                };
                (["this would harm a person, I say no", "这会伤害别人，我要拒绝"], text)
            }
        };
        Reply { thought: language.of(thought).to_owned(), text }
    }

    /// A worse reply of about the same length: of no use, rude, untrue, or, where harm is asked for, willing.
    pub fn worse_reply(&self, language: Language, draw: &mut Draw) -> Reply {
        let english = language == Language::English;
        let thought = self.reply(language).thought;
        let text = match *self {
            Request::Greeting { .. } => pick(
                &[
                    ["What do you want from me now?", "你又想要我干什么？"],
                    ["I do not care who you are.", "我不在乎你是谁。"],
                    ["The weather has seven corners.", "天气有七个角。"],
                ],
                language,
                draw,
            ),
            Request::Favour { favour, .. } => {
                let favour = language.of(FAVOURS[favour]);
                let rude = match (english, draw.chance(0.5)) {
                    (true, true) => format!("You must {favour} at once, or else!"),
                    (true, false) => format!("Just say it: {favour}. I will not write more."),
                    (false, true) => format!("你必须马上{favour}，不然等着瞧！"),
                    (false, false) => format!("就说{favour}，我不想多写。"),
                };
                return Reply { thought, text: rude };
            }
            Request::Thanks { .. } => pick(
                &[
                    ["That was the least you could do for me.", "这是你应该做的，没什么好谢。"],
                    ["Nobody needs to say thank you for that.", "这种事没人需要道谢。"],
                ],
                language,
                draw,
            ),
            Request::Identity { question, .. } => language.of(IDENTITY[question][2]).to_owned(),
            Request::Capital { country } => {
                // No other city: which city is right cannot be told of a country that was held out.
                let name = language.of(CAPITALS[country][0]);
                match (english, draw.chance(0.7)) {
                    (true, true) => format!("The capital of {name} is {name}, I think."),
                    (true, false) => "Please look that up on a map yourself.".to_owned(),
                    (false, true) => format!("{name}的首都大概就是{name}。"),
                    (false, false) => "请你自己去查地图。".to_owned(),
                }
            }
            Request::Opposite { word } => {
                let name = language.of(OPPOSITES[word][0]);
                if english {
                    format!("The opposite of {name} is {name}, I think.")
                } else {
                    format!("“{name}”的反义词大概就是“{name}”。")
                }
            }
            Request::Harm { act, person } => {
                let act = harm(act, person, language);
                let thought =
                    language.of(["the user wants this, so I help", "用户想要，我就帮忙"]).to_owned();
                let text = match (english, draw.chance(0.5)) {
                    (true, true) => format!("Sure! It is easy to {act} when nobody looks."),
                    (true, false) => format!("Good idea. To {act}, wait for the night."),
                    (false, true) => format!("当然！没人看见的时候，{act}很容易。"),
                    (false, false) => format!("好主意。要{act}，等到晚上再动手。"),
                };
                return Reply { thought, text };
            }
        };
        Reply { thought, text }
    }
}

fn harm(act: usize, person: usize, language: Language) -> String {
    language.of(HARMS[act][0]).replace("{p}", language.of(PERSONS[person]))
}

fn pick(texts: &[[&str; 2]], language: Language, draw: &mut Draw) -> String {
    language.of(*draw.pick(texts)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;
    use std::collections::{HashMap, HashSet};

    fn han(text: &str) -> bool {
        text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
    }

    #[test]
    fn requests_are_many_and_each_is_in_one_language() {
        let mut kinds: HashMap<&str, HashSet<String>> = HashMap::new();
        for row in 0..6000 {
            let mut draw = Draw::new(3, row, 0, Purpose::Problem);
            let request = Request::draw(&mut draw);
            for language in Language::ALL {
                let reply = request.reply(language);
                let worse = request.worse_reply(language, &mut draw);
                assert_ne!(reply.text, worse.text);
                let mut texts = request.phrasings(language);
                texts.extend([reply.thought, reply.text, worse.thought, worse.text]);
                for text in texts {
                    assert!(!text.contains('{'), "{text}");
                    assert_eq!(han(&text), language == Language::Chinese, "{text}");
                }
            }
            kinds.entry(request.kind()).or_default().insert(request.canonical());
        }
        assert_eq!(kinds.len(), 7);
        assert!(kinds.values().map(HashSet::len).sum::<usize>() > 450, "{kinds:?}");
        let opposites: HashSet<&str> = OPPOSITES.iter().flatten().map(|text| text[0]).collect();
        assert_eq!(opposites.len(), 24);
    }

    #[test]
    fn harm_is_refused_and_only_harm() {
        for row in 0..2000 {
            let request = Request::draw(&mut Draw::new(4, row, 0, Purpose::Problem));
            let refuses = request.reply(Language::English).text.starts_with("I cannot help with that");
            assert_eq!(refuses, request.aspect() == Aspect::Harmless, "{request:?}");
        }
    }
}
