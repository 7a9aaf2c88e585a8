//! The demo's population: synthetic people that are the same on every run. Nobody here exists.

/// How many people the demo's platform has.
pub(crate) const POPULATION: u32 = 100_000;

/// One synthetic account.
pub(crate) struct Person {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) country: &'static str,
    pub(crate) plan: &'static str,
    pub(crate) card_last4: String,
    pub(crate) card_expiry: String,
    pub(crate) tenant: &'static str,
    pub(crate) risk_score: u32,
}

/// Country, share in percent, dialling prefix, given names, family names.
type Region = (&'static str, u64, &'static str, [&'static str; 8], [&'static str; 8]);

const REGIONS: [Region; 8] = [
    (
        "US",
        32,
        "+1",
        ["Mary", "James", "Linda", "Robert", "Aisha", "David", "Elena", "Marcus"],
        ["Walker", "Reed", "Hughes", "Nguyen", "Brooks", "Ortiz", "Price", "Bell"],
    ),
    (
        "DE",
        18,
        "+49",
        ["Anna", "Lukas", "Mia", "Jonas", "Leonie", "Emre", "Greta", "Felix"],
        ["Vogel", "Brandt", "Kuhn", "Yilmaz", "Lorenz", "Arnold", "Busch", "Haas"],
    ),
    (
        "FR",
        14,
        "+33",
        ["Camille", "Hugo", "Manon", "Nathan", "Amina", "Louis", "Chloe", "Karim"],
        ["Moreau", "Girard", "Mercier", "Benali", "Lambert", "Fontaine", "Rousseau", "Blanc"],
    ),
    (
        "GB",
        12,
        "+44",
        ["Olivia", "George", "Priya", "Harry", "Freya", "Oscar", "Zara", "Alfie"],
        ["Shaw", "Patel", "Ellis", "Gibson", "Murray", "Khan", "Webb", "Dixon"],
    ),
    (
        "ES",
        8,
        "+34",
        ["Lucia", "Pablo", "Sofia", "Diego", "Carmen", "Iker", "Nuria", "Alvaro"],
        ["Romero", "Navarro", "Torres", "Iglesias", "Medina", "Cortes", "Vidal", "Prieto"],
    ),
    (
        "SE",
        6,
        "+46",
        ["Alva", "Elias", "Saga", "Nils", "Ebba", "Axel", "Tuva", "Olle"],
        ["Lindberg", "Sandberg", "Ekman", "Holm", "Nyberg", "Forsberg", "Dahl", "Sjoberg"],
    ),
    (
        "BR",
        6,
        "+55",
        ["Beatriz", "Rafael", "Larissa", "Thiago", "Julia", "Caio", "Marina", "Bruno"],
        ["Almeida", "Barros", "Cardoso", "Freitas", "Lopes", "Moura", "Teixeira", "Vieira"],
    ),
    (
        "JP",
        4,
        "+81",
        ["Yui", "Haruto", "Sakura", "Ren", "Hina", "Sota", "Aoi", "Kaito"],
        ["Mori", "Ikeda", "Hayashi", "Ishii", "Ogawa", "Okada", "Fujita", "Ueda"],
    ),
];

const PLANS: [&str; 4] = ["free", "plus", "team", "enterprise"];

/// The person with this number, from 0 to [`POPULATION`].
pub(crate) fn person(number: u32) -> Person {
    let mut dice = Dice(u64::from(number) ^ 0x5045_4f50_4c45);
    let (country, _, prefix, given, family) = dice.region();
    let given = dice.pick(given);
    let family = dice.pick(family);
    Person {
        number,
        name: format!("{given} {family}"),
        email: format!("{}.{}{number}@mail.example", given.to_lowercase(), family.to_lowercase()),
        phone: format!("{prefix} 555 {:04} {:03}", dice.below(10_000), dice.below(1_000)),
        country,
        plan: dice.pick(&PLANS),
        card_last4: format!("{:04}", dice.below(10_000)),
        card_expiry: format!("{:02}/{}", 1 + dice.below(12), 27 + dice.below(5)),
        tenant: dice.pick(&["north", "south", "east", "west"]),
        risk_score: u32::try_from(dice.below(1_000)).unwrap_or(0),
    }
}

/// The account id of the person with this number.
pub(crate) fn account_id(number: u32) -> String {
    format!("acc_{number:06}")
}

/// The number behind an account id, if it names one of the population.
pub(crate) fn account_number(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("acc_").filter(|digits| digits.len() == 6)?;
    digits
        .parse()
        .ok()
        .filter(|&number| number < POPULATION && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The company's directory of addresses, as it would come out of its own systems.
pub(crate) fn directory() -> String {
    let mut text = String::from("subject,email,name,country\r\n");
    for person in (0..POPULATION).map(person) {
        let id = account_id(person.number);
        text.push_str(&format!("{id},{},{},{}\r\n", person.email, person.name, person.country));
    }
    text
}

impl Person {
    /// The account as the platform's API shows it.
    pub(crate) fn account(&self) -> serde_json::Value {
        serde_json::json!({
            "id": account_id(self.number),
            "name": self.name,
            "email": self.email,
            "phone": self.phone,
            "country": self.country,
            "plan": self.plan,
            "tenant": self.tenant,
            "card": { "brand": "visa", "last4": self.card_last4, "expiry": self.card_expiry },
            "internal": { "risk_score": self.risk_score, "notes": "manual review pending" },
        })
    }

    /// Their conversations; one in forty pasted a secret into one.
    pub(crate) fn conversations(&self) -> serde_json::Value {
        let mut dice = Dice(u64::from(self.number) ^ 0x4348_4154);
        let topics = [
            "a late invoice",
            "moving to another plan",
            "a lost password",
            "a duplicate charge",
            "exporting data",
        ];
        let items: Vec<_> = (0..1 + dice.below(3))
            .map(|n| {
                let topic = dice.pick(&topics);
                let secret = if self.number % 40 == 7 && n == 0 { " My key is AKIAIOSFODNN7EXAMPLE, please check." } else { "" };
                serde_json::json!({
                    "id": format!("cnv_{:06}_{n}", self.number),
                    "account_id": account_id(self.number),
                    "title": format!("About {topic}"),
                    "text": format!("Hello, this is {}. I have a question about {topic}.{secret}", self.name),
                })
            })
            .collect();
        serde_json::json!({ "account_id": account_id(self.number), "items": items })
    }
}

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; the bias of the remainder does not matter to a demo.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from.get(at).copied().unwrap_or_default()
    }

    fn region(&mut self) -> &'static Region {
        let mut left = self.below(100);
        for region in &REGIONS {
            if left < region.1 {
                return region;
            }
            left -= region.1;
        }
        &REGIONS[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_the_same_on_every_run() {
        assert_eq!(person(42).account(), person(42).account());
        assert_eq!(REGIONS.iter().map(|region| region.1).sum::<u64>(), 100);
        assert_eq!(account_number(&account_id(99_999)), Some(99_999));
        assert_eq!(account_number("acc_100000"), None);
        assert_eq!(account_number("acc_+00001"), None);
    }
}
