//! The languages that prompts and reasoning are worded in.

/// A language of prompts and reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// English.
    English,
    /// Chinese (simplified).
    Chinese,
}

impl Language {
    /// Both languages, in the order of [`Bilingual`].
    pub const ALL: [Language; 2] = [Language::English, Language::Chinese];

    /// The code in the `language` column.
    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Chinese => "zh",
        }
    }

    /// The language of a code, where we speak it.
    pub fn of_code(code: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.code() == code)
    }

    /// The one that this one gets mixed up with.
    pub fn other(self) -> Language {
        match self {
            Language::English => Language::Chinese,
            Language::Chinese => Language::English,
        }
    }

    /// Its side of a text given in both languages.
    pub fn of<T: Copy>(self, text: Bilingual<T>) -> T {
        text[self as usize]
    }
}

/// The same thing said in English and in Chinese.
pub type Bilingual<T> = [T; 2];

/// A list as it is written in running text: `a, b, c` or `a、b、c`.
pub fn list<T: ToString>(items: &[T], language: Language) -> String {
    let words: Vec<String> = items.iter().map(T::to_string).collect();
    words.join(language.of([", ", "、"]))
}
