//! Letters to subjects: one for each, naming which of *their* data was read, and when (GDPR article 34).

use crate::case::{Case, Cause};
use crate::frozen::{FrozenScope, Read};
use crate::people::{People, Person};
use crate::words;
use aws_lc_rs::digest::{SHA256, digest};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, context};
use model::{IncidentId, SubjectId, UnixMicros};
use serde::Serialize;

/// The text of a letter, unless operators give another one.
pub const TEMPLATE: &str = include_str!("../templates/letter.txt");

/// Longest letter, in bytes: a template that loops must not fill a mail server.
const LETTER_BYTES_MAX: usize = 64 << 10;

/// Who writes. Each part is one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Company {
    /// Legal name.
    pub name: String,
    /// Postal address.
    pub address: String,
    /// Where it is established, ISO 3166-1 alpha-2.
    pub country: String,
    /// In the public register.
    pub organisation_number: Option<String>,
    /// The data protection officer, or whom to ask.
    pub contact_name: String,
    /// Their address.
    pub contact_email: String,
    /// Their telephone number.
    pub contact_phone: Option<String>,
    /// The competent authority.
    pub supervisory_authority: Option<String>,
}

/// One letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The recipient's addr-spec.
    pub to: String,
    /// The subject line.
    pub title: String,
    /// Plain text, lines ending in a line feed.
    pub body: String,
    /// The part of the Message-ID before the `@`: the same for the same person and case, and nobody can tell who from it.
    pub id: String,
}

/// A template that makes no letter; whoever wrote it is at fault.
#[derive(Debug, thiserror::Error)]
pub enum BadTemplate {
    /// It cannot be rendered.
    #[error("the letter's template cannot be used")]
    Broken(#[from] minijinja::Error),
    /// Its letters are too long.
    #[error("the letter is longer than 64 KiB")]
    TooLong,
}

/// Writes the letters of one scope. Made once, used for each subject.
pub struct Writer {
    environment: Environment<'static>,
    company: Company,
    incident: IncidentId,
    case: String,
    title: String,
    what_happened: String,
    what_we_do: String,
    /// Mixed into ids, so that they cannot be computed by whoever knows a subject's id.
    key: [u8; 32],
}

impl Writer {
    /// `template`: in Jinja's language; variables as in [`TEMPLATE`]. `vendors`: names of those who read, for the text. `key`: secret.
    ///
    /// # Errors
    /// [`BadTemplate`] before any letter is written.
    pub fn new(
        template: &str,
        company: &Company,
        incident: IncidentId,
        case: &Case,
        vendors: &[String],
        key: [u8; 32],
    ) -> Result<Self, BadTemplate> {
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(100_000));
        environment.add_template_owned("letter", template.to_owned())?;
        let who = if vendors.is_empty() { "a third party".to_owned() } else { vendors.join(", ") };
        let contained = case.contained.as_ref().map(|(at, _)| minute(*at));
        let what = match &case.cause {
            Cause::VendorBreach { since, .. } => format!(
                "Data about you that {who} had been given by us is not safe there any more: since {} at the latest, others may have read it.",
                minute(*since)
            ),
            Cause::Signal { .. } | Cause::Exposure {} => format!(
                "Software of {who}, which had access to part of our data, read more than it should have."
            ),
        };
        let writer = Self {
            environment,
            company: company.clone(),
            incident,
            case: case.name.clone(),
            title: format!("{}: your data was read", company.name),
            what_happened: wrap(&format!(
                "{what} {}",
                contained.as_ref().map_or_else(
                    || "We are stopping its access.".to_owned(),
                    |at| format!("We cut it off on {at}.")
                )
            )),
            what_we_do: wrap(
                "We established from a tamper-evident record exactly whose data was read, are writing to each of these people, and inform the authorities where the law asks for it.",
            ),
            key,
        };
        // A template that fails for one person fails here already, before anybody is written to.
        let person = |name: Option<&str>| Person {
            email: None,
            name: name.map(str::to_owned),
            country: None,
        };
        let read = Read {
            classes: vec!["user".to_owned()],
            first: case.aware,
            last: case.aware,
            count: 1,
        };
        for name in [None, Some("A Name")] {
            writer.body(&person(name), &read)?;
        }
        Ok(writer)
    }

    /// The letter to one subject of the scope; none if they have no address or are not in it.
    ///
    /// # Errors
    /// [`BadTemplate`].
    pub fn letter(
        &self,
        subject: &SubjectId,
        scope: &FrozenScope,
        people: &People,
    ) -> Result<Option<Letter>, BadTemplate> {
        let (Some(read), Some(person)) = (scope.subjects.get(subject), people.get(subject)) else {
            return Ok(None);
        };
        let Some(to) = person.email.clone() else { return Ok(None) };
        let body = self.body(person, read)?;
        Ok(Some(Letter { to, title: self.title.clone(), body, id: self.id(subject) }))
    }

    fn body(&self, person: &Person, read: &Read) -> Result<String, BadTemplate> {
        let letter = self.environment.get_template("letter")?.render(context! {
            name => person.name.as_deref(),
            company => Serde(&self.company),
            case => self.case.as_str(),
            classes => words::all_plain(&read.classes),
            count => read.count,
            first => minute(read.first),
            last => minute(read.last),
            what_happened => self.what_happened.as_str(),
            what_we_do => self.what_we_do.as_str(),
            what_you_can_do => advice(&read.classes),
        })?;
        if letter.len() > LETTER_BYTES_MAX {
            return Err(BadTemplate::TooLong);
        }
        Ok(letter)
    }

    fn id(&self, subject: &SubjectId) -> String {
        let mut message = b"portcullis letter v1\0".to_vec();
        message.extend_from_slice(&self.key);
        message.extend_from_slice(self.incident.as_bytes());
        message.extend_from_slice(subject.as_str().as_bytes());
        let hash = digest(&SHA256, &message);
        hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What somebody can do about what was read of theirs.
fn advice(classes: &[String]) -> String {
    let read = |prefix: &str| classes.iter().any(|class| class.starts_with(prefix));
    let mut lines = vec![
        "Be wary of messages that claim to come from us and ask for something: we never ask for passwords.",
    ];
    if read("user.financial") || read("user.payment") {
        lines.push("Look through the statements of your card and account, and report to your bank what is not yours.");
    }
    if read("user.authorization") || read("user.content") {
        lines.push("Change passwords and access keys that you keep with us, or that stand in what you wrote to us.");
    }
    if read("user.government_id") {
        lines.push("Watch for accounts or contracts opened in your name.");
    }
    wrap(&lines.join(" "))
}

/// To the minute, in UTC, as people write it.
fn minute(at: UnixMicros) -> String {
    let text = at.to_string();
    let part = |range| text.get(range).unwrap_or("");
    format!("{} at {} UTC", part(0..10), part(11..16))
}

/// Breaks a paragraph into lines of at most 72 characters.
fn wrap(paragraph: &str) -> String {
    let (mut text, mut width) = (String::with_capacity(paragraph.len()), 0);
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 72 {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use expect_test::expect;
    use proptest::prelude::*;

    pub(crate) fn company() -> Company {
        Company {
            name: "Example AG".into(),
            address: "1 Example Street, 12345 Example".into(),
            country: "DE".into(),
            organisation_number: None,
            contact_name: "Data protection officer".into(),
            contact_email: "privacy@company.example".into(),
            contact_phone: None,
            supervisory_authority: Some("the authority of your country".into()),
        }
    }

    fn incident() -> IncidentId {
        IncidentId::from_bytes([9; 16])
    }

    fn write(scope: &FrozenScope, people: &People, template: &str) -> Vec<(SubjectId, Letter)> {
        let (company, case) = (company(), sample::case(scope));
        let vendors = ["Ledgerly GmbH".to_owned()];
        let writer = Writer::new(template, &company, incident(), &case, &vendors, [1; 32]).unwrap();
        let letter = |subject: &SubjectId| {
            Some((subject.clone(), writer.letter(subject, scope, people).unwrap()?))
        };
        scope.subjects.keys().filter_map(letter).collect()
    }

    #[test]
    fn a_letter_reads_like_this() {
        let letters = write(&sample::scope(1, &[]), &sample::people(), TEMPLATE);
        expect![[r#"
            Dear Eva Meier,

            we write to you because data about you was read by somebody who should
            not have read it. This letter says what happened, which data it was, and
            what you can do. Example AG is responsible for your data.

            WHAT HAPPENED

            Software of Ledgerly GmbH, which had access to part of our data, read
            more than it should have. We cut it off on 2026-11-24 at 10:00 UTC.

            WHAT INFORMATION WAS INVOLVED

            Of the data we hold about you, this was read:

              * the number we know you by
              * your e-mail address
              * the last four digits of your card

            It was read once, on 2026-11-24 at 08:00 UTC.
            Nothing else of yours was read in this incident.

            WHAT WE ARE DOING

            We established from a tamper-evident record exactly whose data was read,
            are writing to each of these people, and inform the authorities where
            the law asks for it.

            WHAT YOU CAN DO

            Be wary of messages that claim to come from us and ask for something: we
            never ask for passwords. Look through the statements of your card and
            account, and report to your bank what is not yours.

            FOR MORE INFORMATION

            Data protection officer, privacy@company.example
            Example AG, 1 Example Street, 12345 Example
            You may also complain to the authority of your country.

            Our reference: acme
        "#]]
        .assert_eq(&format!("{}\n", letters[0].1.body));
    }

    #[test]
    fn exactly_the_scopes_subjects_with_an_address_are_written_to() {
        let (scope, people) = (sample::scope(1, &["acc_9"]), sample::people());
        let letters = write(&scope, &people, TEMPLATE);
        let to: Vec<_> = letters.iter().map(|(_, letter)| letter.to.as_str()).collect();
        assert_eq!(to, ["eva@mail.example", "jean@mail.example"]);
        // Each names their own classes: only Eva's card was read.
        assert!(letters[0].1.body.contains("your card"));
        assert!(!letters[1].1.body.contains("your card"));
        assert!(letters[1].1.body.contains("2 times, first on 2026-11-24 at 08:00 UTC"));
    }

    #[test]
    fn an_id_is_the_same_for_the_same_person_and_case_and_tells_nobody_who() {
        let (scope, people) = (sample::scope(1, &[]), sample::people());
        let once = write(&scope, &people, TEMPLATE);
        assert_eq!(once, write(&scope, &people, TEMPLATE));
        assert_ne!(once[0].1.id, once[1].1.id);
        assert!(!once[0].1.id.contains("acc_1"));
    }

    #[test]
    fn a_template_that_cannot_be_used_is_refused_before_any_letter() {
        let case = sample::case(&sample::scope(1, &[]));
        let company = company();
        for broken in [
            "{{ nobody }}",
            "{% for",
            "{{ company.secret }}",
            "{% include 'other' %}",
            "{% for a in range(1000000) %}{% for b in range(1000000) %}x{% endfor %}{% endfor %}",
        ] {
            let refused = Writer::new(broken, &company, incident(), &case, &[], [1; 32]);
            assert!(refused.is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn no_name_is_taken_for_a_template_or_breaks_a_line(name in "[^\\p{C}\u{2028}\u{2029}]{1,40}|\\{\\{ company\\.name \\}\\}|\\{% raw %\\}") {
            let csv = format!("subject,email,name\nacc_1,eva@mail.example,\"{}\"", name.replace('"', "\"\""));
            let (people, _) = People::from_csv(&csv).unwrap();
            let letters = write(&sample::scope(1, &[]), &people, TEMPLATE);
            let first = letters[0].1.body.lines().next().unwrap().to_owned();
            let name = name.trim();
            let expected = if name.is_empty() { "Dear customer,".to_owned() } else { format!("Dear {name},") };
            prop_assert_eq!(first, expected);
        }
    }
}
