//! Days and dates of the Gregorian calendar.

use crate::language::{Bilingual, Language};
use std::fmt;

/// A date of the (proleptic) Gregorian calendar; ordered as time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: i64,
    /// Day of the month, from 1.
    pub day: i64,
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Every fourth year is a leap year, but of the full centuries only every fourth.
pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The length of a month in days.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Date {
    /// Days since 0000-03-01. Years are counted from March, so that the leap day is the last of its year and the months
    /// before it follow the line 30.6 · month; a year has 365 days plus its leap days.
    pub fn number(self) -> i64 {
        let since_march = (self.month + 9) % 12;
        let year = self.year - i64::from(self.month <= 2);
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        365 * year + leap_days + (306 * since_march + 5) / 10 + self.day - 1
    }

    /// The date this many days later.
    pub fn plus(self, days: i64) -> Date {
        let Date { mut year, mut month, day } = self;
        let mut day = day + days;
        while day > days_in_month(year, month) {
            day -= days_in_month(year, month);
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        while day < 1 {
            (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
            day += days_in_month(year, month);
        }
        Date { year, month, day }
    }

    /// 0 for Monday to 6 for Sunday. Day 0 of [`Date::number`] was a Wednesday.
    pub fn weekday(self) -> i64 {
        (self.number() + 2).rem_euclid(7)
    }
}

/// The days of the week from Monday on.
pub const WEEKDAYS: [Bilingual<&str>; 7] = [
    ["Monday", "星期一"],
    ["Tuesday", "星期二"],
    ["Wednesday", "星期三"],
    ["Thursday", "星期四"],
    ["Friday", "星期五"],
    ["Saturday", "星期六"],
    ["Sunday", "星期日"],
];

/// The name of a weekday (0 for Monday; any whole number, modulo 7).
pub fn weekday_name(weekday: i64, language: Language) -> &'static str {
    language.of(WEEKDAYS[weekday.rem_euclid(7) as usize])
}

/// A time of day in minutes since midnight, written `09:05`.
pub fn clock(minutes: i64) -> String {
    format!("{:02}:{:02}", minutes.div_euclid(60), minutes.rem_euclid(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_weekdays() {
        let weekday = |year, month, day| weekday_name(Date { year, month, day }.weekday(), Language::English);
        assert_eq!(weekday(1969, 7, 20), "Sunday");
        assert_eq!(weekday(1970, 1, 1), "Thursday");
        assert_eq!(weekday(2000, 2, 29), "Tuesday");
        assert_eq!(weekday(2025, 1, 20), "Monday");
        assert_eq!(weekday(1582, 10, 15), "Friday");
    }

    #[test]
    fn counting_day_by_day_agrees() {
        let mut date = Date { year: 1896, month: 1, day: 1 };
        let first = date.number();
        for passed in 0..150_000 {
            assert_eq!(date.number() - first, passed, "{date}");
            assert_eq!(date.weekday(), (2 + passed) % 7, "{date}: 1896 began on a Wednesday");
            if passed % 97 == 0 {
                assert_eq!(Date { year: 1896, month: 1, day: 1 }.plus(passed), date);
                assert_eq!(date.plus(-passed), Date { year: 1896, month: 1, day: 1 });
            }
            date = match date {
                Date { year, month: 12, day: 31 } => Date { year: year + 1, month: 1, day: 1 },
                Date { year, month, day } if day == days_in_month(year, month) => {
                    Date { year, month: month + 1, day: 1 }
                }
                Date { year, month, day } => Date { year, month, day: day + 1 },
            };
        }
    }
}
