//! A regulator's form, filled from the scope: the fields of GDPR article 33(3) and 33(4), as JSON and as HTML to print.
//!
//! What the record cannot know is marked *to be completed*; nothing is made up.

use crate::case::{Case, Cause};
use crate::clocks::Deadline;
use crate::date::seconds;
use crate::figures::{Figures, UNKNOWN, hex};
use crate::notice::Company;
use crate::words;
use aws_lc_rs::digest::{SHA256, digest};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use model::UnixMicros;
use serde_json::{Value, json};

const TEMPLATE: &str = include_str!("../templates/filing.html");

/// What a form is compiled from.
pub struct Sources<'a> {
    /// The case.
    pub case: &'a Case,
    /// Figures of the scope in force.
    pub figures: &'a Figures,
    /// Who files.
    pub company: &'a Company,
    /// The regime that asks for it.
    pub deadline: &'a Deadline,
    /// What integrations are called, by id: name and vendor.
    pub name: &'a dyn Fn(&str) -> String,
    /// The authority's reference, if there is one.
    pub reference: Option<&'a str>,
    /// The log's public key.
    pub log_key: &'a str,
    /// Of which day the table of deadlines is.
    pub table: &'a str,
    /// The moment of compilation.
    pub now: UnixMicros,
}

/// A compiled form.
#[derive(Clone, Debug, PartialEq)]
pub struct Filing(Value);

/// The built-in template cannot be rendered: our bug, and no form.
#[derive(Debug, thiserror::Error)]
#[error("the form cannot be rendered")]
pub struct CannotRender(#[from] minijinja::Error);

impl Filing {
    /// Fills the form.
    pub fn compile(sources: &Sources<'_>) -> Self {
        let Sources { case, figures, company, deadline, name, reference, now, .. } = *sources;
        let classes: Vec<_> = figures
            .classes
            .iter()
            .map(|(class, (subjects, records))| json!({ "class": class, "words": words::plain_of_others(class), "subjects": subjects, "records": records }))
            .collect();
        let recipients: Vec<_> = figures
            .integrations
            .iter()
            .map(|(id, (records, first, last))| json!({ "name": name(id), "records": records, "first": seconds(*first), "last": seconds(*last) }))
            .collect();
        let who: Vec<_> = figures.integrations.keys().map(|id| name(id)).collect();
        let used = now.since(case.aware).0 / 60_000_000;
        let late = deadline.due.is_some_and(|due| now > due);
        Self(json!({
            "schema": "portcullis.filing/1",
            "regime": deadline.regime,
            "law": deadline.law,
            "to": deadline.to,
            "phase": "information may follow in phases",
            "reference": reference,
            "case": { "name": case.name, "title": case.title },
            "clock": {
                "aware": seconds(case.aware),
                "due": deadline.due.map(seconds),
                "starts": deadline.starts.map(seconds),
                "compiled": seconds(now),
                "used": format!("{} hours and {} minutes after awareness", used / 60, used % 60),
                "late": late,
            },
            "controller": [
                ["Name", company.name],
                ["Address", company.address],
                ["Country of establishment", company.country],
                ["Registration number", company.organisation_number],
                ["Supervisory authority", company.supervisory_authority],
            ],
            "when": when(case, figures),
            "nature": nature(case, &who),
            "kind": match case.cause {
                Cause::VendorBreach { .. } => "Confidentiality: personal data that a third party had been given is no longer safe with it",
                Cause::Signal { .. } | Cause::Exposure {} => "Confidentiality: personal data was disclosed to a third party beyond what was permitted",
            },
            "figures": figures.to_json(),
            "classes": classes,
            "cross_border": cross_border(figures),
            "contact": contact(company),
            "consequences": consequences(figures),
            "measures": measures(case),
            "recipients": recipients,
            "letters": letters(case, figures),
            "log_key": sources.log_key,
            "table": sources.table,
        }))
    }

    /// `portcullis.filing/1`.
    pub fn to_json(&self) -> &Value {
        &self.0
    }

    /// SHA-256 of the JSON as it is written, hex.
    pub fn hash(&self) -> String {
        hex(digest(&SHA256, self.0.to_string().as_bytes()).as_ref())
    }

    /// The form on paper: self-contained, without scripts.
    ///
    /// # Errors
    /// [`CannotRender`].
    pub fn to_html(&self) -> Result<String, CannotRender> {
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_template("filing", TEMPLATE)?;
        Ok(environment.get_template("filing")?.render(context! { f => Serde(&self.0) })?)
    }
}

/// What happened, in a sentence.
fn nature(case: &Case, who: &[String]) -> String {
    let who = if who.is_empty() { "none that read".to_owned() } else { who.join(", ") };
    let what = match &case.cause {
        Cause::VendorBreach { since, .. } => format!(
            "The store of a third party that had been given personal data by the controller's interface ({who}) is not to be trusted since {}; counted is everything that it was given from then on.",
            seconds(*since)
        ),
        Cause::Signal { .. } | Cause::Exposure {} => format!(
            "Software of a third party with access to the controller's interface ({who}) read personal data beyond what was permitted."
        ),
    };
    format!("{what} {}.", case.title.trim_end_matches('.'))
}

fn when(case: &Case, figures: &Figures) -> Vec<[String; 2]> {
    let text = |time: Option<UnixMicros>| time.map_or("not known".to_owned(), seconds);
    vec![
        ["Began".to_owned(), text(case.began.or(figures.span.map(|(first, _)| first)))],
        ["Last access in the scope".to_owned(), text(figures.span.map(|(_, last)| last))],
        ["Controller aware".to_owned(), seconds(case.aware)],
        [
            "Contained".to_owned(),
            case.contained
                .as_ref()
                .map_or("not yet".to_owned(), |(at, how)| format!("{}: {how}", seconds(*at))),
        ],
    ]
}

fn cross_border(figures: &Figures) -> String {
    let known = figures.countries.keys().filter(|country| *country != UNKNOWN).count();
    let unknown = figures.countries.get(UNKNOWN).copied().unwrap_or(0);
    let mut text = match known {
        0 | 1 => "data subjects of one country are known to be concerned".to_owned(),
        _ => format!("yes, data subjects of {known} countries are concerned"),
    };
    if unknown > 0 {
        text.push_str(&format!("; the country of {unknown} is not known"));
    }
    text
}

fn contact(company: &Company) -> String {
    let phone =
        company.contact_phone.as_deref().map_or(String::new(), |phone| format!(", {phone}"));
    format!("{}, {}{phone}", company.contact_name, company.contact_email)
}

/// What follows from the classes alone. How likely and how bad it is here is for people to say.
fn consequences(figures: &Figures) -> Vec<&'static str> {
    let read = |prefix: &str| figures.classes.keys().any(|class| class.starts_with(prefix));
    let all = [
        (
            read("user.contact") || read("user.name"),
            "Targeted fraudulent messages (phishing) to the data subjects",
        ),
        (
            read("user.financial") || read("user.payment"),
            "Fraud with means of payment, and messages that use payment details to look genuine",
        ),
        (read("user.government_id") || read("user.identity"), "Identity theft"),
        (read("user.authorization"), "Access to the data subjects' accounts"),
        (
            read("user.content"),
            "Disclosure of what data subjects wrote in confidence, secrets in it included",
        ),
        (read("user.location"), "Conclusions about where the data subjects live or stay"),
        (
            read("user.health_and_medical") || read("user.biometric") || read("user.genetic"),
            "Disclosure of special categories of data (article 9)",
        ),
    ];
    let named: Vec<_> = all.into_iter().filter(|(read, _)| *read).map(|(_, line)| line).collect();
    if named.is_empty() { vec!["None that follows from the classes of data alone"] } else { named }
}

fn measures(case: &Case) -> Vec<String> {
    let mut measures = Vec::new();
    if let Some((at, how)) = &case.contained {
        measures.push(format!("{}: {how}", seconds(*at)));
    }
    measures.push("Every access was recorded before its data left; the data subjects concerned were established from that record, exactly".to_owned());
    if case.letters.started.is_some() {
        measures.push(
            "The data subjects are being informed one by one, each about their own data".to_owned(),
        );
    }
    if let Some(asked) = case.vendor_asked {
        let answer = case
            .vendor_acknowledged
            .map_or("no answer yet".to_owned(), |at| format!("answered {}", seconds(at)));
        measures.push(format!("The vendor owes its account since {}; {answer}", seconds(asked)));
    }
    measures
}

fn letters(case: &Case, figures: &Figures) -> String {
    let letters = case.letters;
    match (letters.started, letters.settled) {
        (None, _) => {
            format!("Not yet. {} of {} can be written to.", figures.with_address, figures.subjects)
        }
        (Some(at), None) => {
            format!("Under way since {}: {} letters.", seconds(at), letters.queued)
        }
        (Some(_), Some(at)) => format!(
            "{} letters were accepted by the mail server, {} refused, {} given up, {} in doubt, as of {}; {} subjects have no address and are told another way.",
            letters.accepted,
            letters.refused,
            letters.given_up,
            letters.in_doubt,
            seconds(at),
            letters.without_address
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clocks::{BUILT_IN, Deadlines};
    use crate::frozen::FrozenScope;
    use crate::notice::{self, Writer};
    use crate::people::People;
    use crate::postmortem;
    use crate::sample::{self, T};
    use model::IncidentId;

    fn company() -> Company {
        Company {
            name: "Example & Söhne AG".into(),
            address: "1 Example Street".into(),
            country: "DE".into(),
            organisation_number: None,
            contact_name: "DPO".into(),
            contact_email: "privacy@company.example".into(),
            contact_phone: None,
            supervisory_authority: None,
        }
    }

    struct Documents {
        figures: Figures,
        filing: Filing,
        letters: Vec<String>,
        postmortem: String,
    }

    fn documents(scope: &FrozenScope, people: &People) -> Documents {
        let (case, figures, company) =
            (sample::case(scope), Figures::count(scope, people), company());
        let now = UnixMicros(T.0 + 5 * 3_600_000_000);
        let deadlines =
            Deadlines::read(BUILT_IN).unwrap().of(&case, Some(&figures), Some("DE"), now);
        let name = |_: &str| "ledgerly-billing <b>".to_owned();
        let filing = Filing::compile(&Sources {
            case: &case,
            figures: &figures,
            company: &company,
            deadline: &deadlines[0],
            name: &name,
            reference: None,
            log_key: "demo+key",
            table: "today",
            now,
        });
        let incident = IncidentId::from_bytes([9; 16]);
        let writer =
            Writer::new(notice::TEMPLATE, &company, incident, &case, &[], [1; 32]).unwrap();
        let letters = scope
            .subjects
            .keys()
            .filter_map(|subject| Some(writer.letter(subject, scope, people).unwrap()?.body))
            .collect();
        let postmortem = postmortem::draft(&postmortem::Sources {
            case: &case,
            figures: &figures,
            deadlines: &deadlines,
            timeline: &(Vec::new(), 0),
            name: &name,
            log_key: "demo+key",
        });
        Documents { figures, filing, letters, postmortem }
    }

    /// One frozen scope stands behind every number: with one person more, every document says so.
    #[test]
    fn another_scope_makes_other_letters_figures_filing_and_post_mortem() {
        let (more, _) = People::from_csv(&format!(
            "{}acc_7,mia@mail.example,Mia,SE\r\n",
            sample::people().to_csv()
        ))
        .unwrap();
        let one = documents(&sample::scope(1, &[]), &more);
        let two = documents(&sample::scope(2, &["acc_7"]), &more);
        assert_eq!((one.figures.subjects, two.figures.subjects), (3, 4));
        assert_eq!((one.letters.len(), two.letters.len()), (2, 3));
        for (documents, subjects, version) in [(&one, "3", "1"), (&two, "4", "2")] {
            let figures = documents.filing.to_json().pointer("/figures").unwrap();
            assert_eq!(figures["subjects"].to_string(), subjects);
            let html = documents.filing.to_html().unwrap();
            assert!(html.contains(&format!("<strong>{subjects}</strong>")));
            assert!(html.contains(&format!("version {version}")));
            assert!(documents.postmortem.contains(&format!("**{subjects} subjects**")));
            assert!(html.contains(&hex(&documents.figures.scope.2)));
            assert!(documents.postmortem.contains(&hex(&documents.figures.scope.2)));
        }
        assert!(!one.filing.to_html().unwrap().contains("<td>SE</td>"));
        assert!(two.filing.to_html().unwrap().contains("<td>SE</td>"));
        assert_ne!(one.filing.hash(), two.filing.hash());
    }

    #[test]
    fn a_scope_that_was_changed_after_it_was_frozen_is_no_scope() {
        let scope = sample::scope(1, &[]);
        let changed = FrozenScope::read(b"{}", &scope.hash);
        assert_eq!(changed, Err(crate::frozen::BadScope::OtherHash));
    }

    #[test]
    fn the_form_is_self_contained_and_what_people_typed_is_text_in_it() {
        let html = documents(&sample::scope(1, &[]), &sample::people()).filing.to_html().unwrap();
        assert!(html.contains("Example &amp; Söhne AG"));
        assert!(html.contains("ledgerly-billing &lt;b&gt;"));
        for outside in ["<script", "http:", "https:", "src=", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("to be completed"));
        // The 72 hours, and how many of them are gone.
        assert!(html.contains("Due 2026-11-27T10:00:00"), "{html}");
        assert!(html.contains("3 hours and 0 minutes after awareness"));
    }

    #[test]
    fn no_document_but_the_letters_names_a_subject() {
        let Documents { filing, postmortem, .. } =
            documents(&sample::scope(1, &[]), &sample::people());
        for named in ["acc_1", "eva@mail.example", "Eva Meier"] {
            assert!(!filing.to_json().to_string().contains(named));
            assert!(!postmortem.contains(named));
        }
    }
}
