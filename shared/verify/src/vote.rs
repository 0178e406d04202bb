//! Which of several answers are one answer, so that a majority can be told.

use crate::{choice, exact, math};

/// Whether two answers are the same.
pub type Same = fn(&str, &str) -> bool;

/// How the answers of a task are compared: mathematically, by the letters they name, or as strings.
pub fn same(task: &str) -> Same {
    match task {
        "choice" => |a, b| choice::judge(a, b, &[]).is_equal(),
        "exact" | "code" | "json" => |a, b| exact::judge(a, b, exact::Policy::default()).is_equal(),
        _ => |a, b| math::judge(a, b, &math::Policy::default()).is_equal(),
    }
}

/// The answers in classes of equal ones, each as the positions of its answers in rising order; classes in the order in which
/// they first come. An absent answer is in none. An answer belongs to the first class whose first answer it equals.
///
/// ```
/// use r1_verify::vote::{classes, same};
/// let cast = [Some("1/2"), None, Some("3"), Some("0.5")];
/// assert_eq!(classes(&cast, same("math")), [vec![0, 3], vec![2]]);
/// ```
pub fn classes(answers: &[Option<&str>], same: Same) -> Vec<Vec<usize>> {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for (at, answer) in answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let equal = |class: &&mut Vec<usize>| answers[class[0]].is_some_and(|first| same(first, answer));
        match classes.iter_mut().find(equal) {
            Some(class) => class.push(at),
            None => classes.push(vec![at]),
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_its_equality() {
        assert!(same("math")("\\frac{1}{2}", "0.5") && !same("exact")("1/2", "0.5"));
        assert!(same("choice")("(b)", "B") && !same("choice")("A", "B"));
        assert!(same("exact")("a  b", "a b"));
        assert!(classes(&[None, None], same("math")).is_empty());
    }
}
