//! Dates and times: clocks, spans of time, weekdays, days between dates, dates after some days.

use super::calendar::{Date, clock, days_in_month, weekday_name};
use super::{Problem, columns, near};
use crate::draw::Draw;
use crate::language::Language;
use crate::range::Range;
use crate::worked::{Hint, Worked};
use serde_json::{Map, Value};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The time some minutes later.
    Clock,
    /// The minutes between two times of one day.
    Elapsed,
    /// The weekday some days from a weekday.
    Weekday,
    /// The days between two dates.
    Days,
    /// The date some days after a date.
    Date,
    /// The weekday of a date, from that of an earlier one.
    DateWeekday,
}

/// How hard the questions are.
#[derive(Clone, Debug)]
pub struct Difficulty {
    /// Which kinds, each as likely as the other.
    pub kinds: Vec<Kind>,
    /// How many minutes a clock goes on.
    pub minutes: Range,
    /// How many days pass.
    pub span: Range,
    /// In which years the dates lie.
    pub years: Range,
}

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub enum DateTime {
    /// A clock shows `start` (minutes since midnight); what does it show `minutes` later?
    Clock { start: i64, minutes: i64 },
    /// How many minutes from one time of day to a later one?
    Elapsed { start: i64, end: i64 },
    /// Which weekday is it some days after one (0 for Monday)?
    Weekday { today: i64, days: i64 },
    /// How many days from one date to a later one?
    Days { from: Date, to: Date },
    /// Which date is it some days after one?
    Date { from: Date, days: i64 },
    /// Which weekday is a date, if that of an earlier one is told?
    DateWeekday { from: Date, to: Date },
}

const DAY: i64 = 24 * 60;

impl DateTime {
    /// Draws a question.
    pub fn draw(difficulty: &Difficulty, draw: &mut Draw) -> Option<DateTime> {
        let minutes = |draw: &mut Draw| draw.between(difficulty.minutes.low, difficulty.minutes.high);
        let span = |draw: &mut Draw| draw.between(difficulty.span.low, difficulty.span.high);
        let date = |draw: &mut Draw| {
            let year = draw.between(difficulty.years.low, difficulty.years.high);
            let month = draw.between(1, 12);
            Date { year, month, day: draw.between(1, days_in_month(year, month)) }
        };
        Some(match draw.pick(&difficulty.kinds) {
            Kind::Clock => {
                DateTime::Clock { start: 5 * draw.between(0, DAY / 5 - 1), minutes: minutes(draw) }
            }
            Kind::Elapsed => {
                let passed = minutes(draw);
                let start = 5 * draw.between(0, (DAY - 1 - passed) / 5);
                DateTime::Elapsed { start, end: start + passed }
            }
            Kind::Weekday => DateTime::Weekday { today: draw.between(0, 6), days: span(draw) },
            Kind::Days => {
                let from = date(draw);
                DateTime::Days { from, to: from.plus(span(draw)) }
            }
            Kind::Date => {
                let from = date(draw);
                DateTime::Date { from, days: span(draw) }
            }
            Kind::DateWeekday => {
                let from = date(draw);
                DateTime::DateWeekday { from, to: from.plus(span(draw)) }
            }
        })
    }

    fn answer(&self, language: Language) -> String {
        match *self {
            DateTime::Clock { start, minutes } => clock((start + minutes) % DAY),
            DateTime::Elapsed { start, end } => (end - start).to_string(),
            DateTime::Weekday { today, days } => weekday_name(today + days, language).to_owned(),
            DateTime::Days { from, to } => (to.number() - from.number()).to_string(),
            DateTime::Date { from, days } => from.plus(days).to_string(),
            DateTime::DateWeekday { to, .. } => weekday_name(to.weekday(), language).to_owned(),
        }
    }

    fn steps(&self, language: Language) -> Vec<String> {
        let mut steps = Vec::new();
        match *self {
            DateTime::Clock { start, minutes } => {
                let since = since_midnight(start, &mut steps);
                let mut end = since + minutes;
                steps.push(format!("{since} + {minutes} = {end}"));
                while end >= DAY {
                    steps.push(format!("{end} - {DAY} = {}", end - DAY));
                    end -= DAY;
                }
                steps.push(format!("{end} = {} * 60 + {}", end / 60, end % 60));
            }
            DateTime::Elapsed { start, end } => {
                let later = since_midnight(end, &mut steps);
                let earlier = since_midnight(start, &mut steps);
                steps.push(format!("{later} - {earlier} = {}", later - earlier));
            }
            DateTime::Weekday { today, days } => after_days(today, days, language, &mut steps),
            DateTime::Days { from, to } => {
                days_between(from, to, &mut steps);
            }
            DateTime::DateWeekday { from, to } => {
                let days = days_between(from, to, &mut steps);
                after_days(from.weekday(), days, language, &mut steps);
            }
            DateTime::Date { from, days } => {
                let mut month = from;
                let mut day = from.day + days;
                steps.push(format!("{} + {days} = {day}", from.day));
                while day > days_in_month(month.year, month.month) {
                    let length = days_in_month(month.year, month.month);
                    steps.push(format!("{day} - {length} = {}", day - length));
                    day -= length;
                    month = next_month(month);
                }
            }
        }
        steps
    }
}

/// The first day of the month after a date's.
fn next_month(date: Date) -> Date {
    let (year, month) = if date.month == 12 { (date.year + 1, 1) } else { (date.year, date.month + 1) };
    Date { year, month, day: 1 }
}

/// Writes which weekday it is some days after one.
fn after_days(today: i64, days: i64, language: Language, steps: &mut Vec<String>) {
    let name = |weekday| weekday_name(weekday, language);
    steps.push(format!("{days} = {} * 7 + {}", days / 7, days % 7));
    steps.push(format!("{} + {} = {}", name(today), days % 7, name(today + days)));
}

/// Writes how the days between two dates add up, month by month.
fn days_between(from: Date, to: Date, steps: &mut Vec<String>) -> i64 {
    if (from.year, from.month) == (to.year, to.month) {
        steps.push(format!("{} - {} = {}", to.day, from.day, to.day - from.day));
        return to.day - from.day;
    }
    let month_end = days_in_month(from.year, from.month);
    let mut passed = month_end - from.day;
    steps.push(format!("{month_end} - {} = {passed}", from.day));
    let mut month = next_month(from);
    while (month.year, month.month) < (to.year, to.month) {
        let days = days_in_month(month.year, month.month);
        steps.push(format!("{passed} + {days} = {}", passed + days));
        passed += days;
        month = next_month(month);
    }
    steps.push(format!("{passed} + {} = {}", to.day, passed + to.day));
    passed + to.day
}

/// Writes how a time becomes minutes since midnight.
fn since_midnight(time: i64, steps: &mut Vec<String>) -> i64 {
    let (hours, minutes) = (time / 60, time % 60);
    steps.push(format!("{hours} * 60 = {}", hours * 60));
    if minutes > 0 {
        steps.push(format!("{} + {minutes} = {time}", hours * 60));
    }
    time
}

impl Problem for DateTime {
    fn canonical(&self) -> String {
        match *self {
            DateTime::Clock { start, minutes } => format!("clock {} + {minutes}", clock(start)),
            DateTime::Elapsed { start, end } => format!("elapsed {} -> {}", clock(start), clock(end)),
            DateTime::Weekday { today, days } => {
                format!("weekday {} + {days}", weekday_name(today, Language::English))
            }
            DateTime::Days { from, to } => format!("days {from} -> {to}"),
            DateTime::Date { from, days } => format!("date {from} + {days}"),
            // The same dates make the same problem, whether their days or their weekdays are asked for.
            DateTime::DateWeekday { from, to } => format!("days {from} -> {to}"),
        }
    }

    fn task(&self) -> &'static str {
        match self {
            DateTime::Elapsed { .. } | DateTime::Days { .. } => "math",
            DateTime::Clock { .. }
            | DateTime::Weekday { .. }
            | DateTime::Date { .. }
            | DateTime::DateWeekday { .. } => "exact",
        }
    }

    fn difficulty(&self) -> Map<String, Value> {
        let (kind, span) = match *self {
            DateTime::Clock { minutes, .. } => ("clock", minutes),
            DateTime::Elapsed { start, end } => ("elapsed", end - start),
            DateTime::Weekday { days, .. } => ("weekday", days),
            DateTime::Days { from, to } => ("days", to.number() - from.number()),
            DateTime::Date { days, .. } => ("date", days),
            DateTime::DateWeekday { from, to } => ("date-weekday", to.number() - from.number()),
        };
        columns([("kind", kind.into()), ("span", span.into())])
    }

    fn phrasings(&self, language: Language) -> Vec<String> {
        let english = language == Language::English;
        let both = |en: [String; 2], zh: [String; 2]| Vec::from(if english { en } else { zh });
        match *self {
            DateTime::Clock { start, minutes } => {
                let start = clock(start);
                both(
                    [
                        format!("What time is it {minutes} minutes after {start}? Answer as HH:MM."),
                        format!(
                            "It is {start}. What will the clock show in {minutes} minutes? Answer as HH:MM."
                        ),
                    ],
                    [
                        format!("{start} 过 {minutes} 分钟是几点？用 HH:MM 回答。"),
                        format!("现在是 {start}，{minutes} 分钟后是几点？用 HH:MM 回答。"),
                    ],
                )
            }
            DateTime::Elapsed { start, end } => {
                let (start, end) = (clock(start), clock(end));
                both(
                    [
                        format!("How many minutes are there from {start} to {end}?"),
                        format!("A film starts at {start} and ends at {end}. How many minutes long is it?"),
                    ],
                    [
                        format!("从 {start} 到 {end} 有多少分钟？"),
                        format!("电影 {start} 开始，{end} 结束，一共多少分钟？"),
                    ],
                )
            }
            DateTime::Weekday { today, days } => {
                let today = weekday_name(today, language);
                both(
                    [
                        format!("Today is {today}. Which day of the week is it in {days} days?"),
                        format!("Which day of the week is {days} days after {today}?"),
                    ],
                    [
                        format!("今天是{today}，{days} 天后是星期几？"),
                        format!("{today}之后 {days} 天是星期几？"),
                    ],
                )
            }
            DateTime::Days { from, to } => both(
                [
                    format!("How many days are there from {from} to {to}?"),
                    format!("How many days after {from} is {to}?"),
                ],
                [format!("从 {from} 到 {to} 有多少天？"), format!("{to} 是 {from} 之后的第几天？")],
            ),
            DateTime::Date { from, days } => both(
                [
                    format!("What date is {days} days after {from}? Answer as YYYY-MM-DD."),
                    format!("It is {from}. Which date is it in {days} days? Answer as YYYY-MM-DD."),
                ],
                [
                    format!("{from} 之后 {days} 天是哪一天？用 YYYY-MM-DD 回答。"),
                    format!("今天是 {from}，{days} 天后是哪一天？用 YYYY-MM-DD 回答。"),
                ],
            ),
            DateTime::DateWeekday { from, to } => {
                let first = weekday_name(from.weekday(), language);
                both(
                    [
                        format!("{from} is a {first}. Which day of the week is {to}?"),
                        format!("Which day of the week is {to}, if {from} is a {first}?"),
                    ],
                    [
                        format!("{from} 是{first}，{to} 是星期几？"),
                        format!("如果 {from} 是{first}，那么 {to} 是星期几？"),
                    ],
                )
            }
        }
    }

    fn work(&self, language: Language) -> Worked {
        let answer = self.answer(language);
        let check = match *self {
            DateTime::Clock { start, minutes } => format!("{answer} - {minutes} min = {}", clock(start)),
            DateTime::Elapsed { start, end } => format!("{} + {answer} min = {}", clock(start), clock(end)),
            DateTime::Weekday { today, days } => {
                format!("{answer} - {} = {}", days % 7, weekday_name(today, language))
            }
            DateTime::Days { from, to } => format!("{from} + {answer} = {to}"),
            DateTime::Date { from, days } => format!("{answer} - {days} = {from}"),
            DateTime::DateWeekday { from, to } => {
                let days = to.number() - from.number();
                format!("{answer} - {} = {}", days % 7, weekday_name(from.weekday(), language))
            }
        };
        Worked { hint: Hint::Nothing, steps: self.steps(language), running: false, check, answer }
    }

    fn wrong_answer(&self, language: Language, draw: &mut Draw) -> String {
        let off = near(0, draw);
        match *self {
            DateTime::Clock { start, minutes } => clock((start + minutes + off).rem_euclid(DAY)),
            DateTime::Elapsed { start, end } => (end - start + off).to_string(),
            DateTime::Weekday { today, days } => weekday_name(today + days + off, language).to_owned(),
            DateTime::Days { from, to } => (to.number() - from.number() + off).to_string(),
            DateTime::Date { from, days } => from.plus(days + off).to_string(),
            DateTime::DateWeekday { to, .. } => weekday_name(to.weekday() + off, language).to_owned(),
        }
    }
}
