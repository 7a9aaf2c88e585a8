//! Data classes in plain words, as a person reads them in a letter. The table is data: `data/class-words.toml`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

static WORDS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    // A test reads the table; a build that cannot would have failed it.
    toml::from_str(include_str!("../data/class-words.toml")).unwrap_or_default()
});

/// What a class is called. The longest prefix in the table holds; a class that is not in it is called by its name, so that nobody
/// is told less than what was read.
pub fn plain(class: &str) -> String {
    let mut prefix = class;
    loop {
        if let Some(words) = WORDS.get(prefix) {
            return words.clone();
        }
        match prefix.rsplit_once('.') {
            Some((shorter, _)) => prefix = shorter,
            None => return format!("data of the kind `{class}`"),
        }
    }
}

/// As [`plain`], for whoever is not the person it is about.
pub(crate) fn plain_of_others(class: &str) -> String {
    let words = plain(class);
    let words = words.strip_prefix("your ").unwrap_or(&words);
    words
        .replace("know you by", "know them by")
        .replace(" your ", " their ")
        .replace(" you ", " they ")
}

/// Each class in plain words, each words once, in order.
pub fn all_plain<'a>(classes: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for class in classes {
        let plain = plain(class);
        if !words.contains(&plain) {
            words.push(plain);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_does_not_speak_to_the_people_it_speaks_of() {
        for class in WORDS.keys() {
            let words = plain_of_others(class);
            assert!(!words.split(' ').any(|word| word.starts_with("you")), "{words}");
        }
        assert_eq!(plain_of_others("user.account.plan"), "which plan they have");
    }

    #[test]
    fn the_longest_prefix_names_a_class_and_no_class_goes_unnamed() {
        assert!(WORDS.len() > 20);
        assert_eq!(plain("user.contact.email"), "your e-mail address");
        assert_eq!(plain("user.contact.fax"), "your contact details");
        assert_eq!(plain("shoe_size"), "data of the kind `shoe_size`");
        let classes = ["user.contact.fax".to_owned(), "user.contact.pager".to_owned()];
        assert_eq!(all_plain(&classes), ["your contact details"]);
    }
}
