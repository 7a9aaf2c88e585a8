//! How severe a CVSS vector is: the base score of version 3, and for version 4 only whether it is beyond doubt critical.

/// The base score of a CVSS 3.0 or 3.1 vector in tenths, 0 to 100. `None` if `vector` is not one, or lacks a base metric.
///
/// Temporal and environmental metrics are read over: an advisory speaks for everybody.
///
/// Source: CVSS v3.1 specification, sections 7.1 and 7.4, and appendix A for rounding up.
pub(crate) fn base_score_v3(vector: &str) -> Option<u8> {
    let metrics = vector.strip_prefix("CVSS:3.1/").or_else(|| vector.strip_prefix("CVSS:3.0/"))?;
    let changed = match metric(metrics, "S")? {
        "U" => false,
        "C" => true,
        _ => return None,
    };
    let attack_vector = match metric(metrics, "AV")? {
        "N" => 0.85,
        "A" => 0.62,
        "L" => 0.55,
        "P" => 0.2,
        _ => return None,
    };
    let complexity = match metric(metrics, "AC")? {
        "L" => 0.77,
        "H" => 0.44,
        _ => return None,
    };
    let privileges = match (metric(metrics, "PR")?, changed) {
        ("N", _) => 0.85,
        ("L", false) => 0.62,
        ("L", true) => 0.68,
        ("H", false) => 0.27,
        ("H", true) => 0.5,
        _ => return None,
    };
    let interaction = match metric(metrics, "UI")? {
        "N" => 0.85,
        "R" => 0.62,
        _ => return None,
    };
    let left: f64 = ["C", "I", "A"].iter().try_fold(1.0, |left, name| {
        let impact = match metric(metrics, name)? {
            "H" => 0.56,
            "L" => 0.22,
            "N" => 0.0,
            _ => return None,
        };
        Some(left * (1.0 - impact))
    })?;
    let base = 1.0 - left;
    let impact =
        if changed { 7.52 * (base - 0.029) - 3.25 * (base - 0.02).powi(15) } else { 6.42 * base };
    if impact <= 0.0 {
        return Some(0);
    }
    let exploitability = 8.22 * attack_vector * complexity * privileges * interaction;
    let sum = impact + exploitability;
    Some(tenths_up(if changed { (1.08 * sum).min(10.0) } else { sum.min(10.0) }))
}

/// Whether a CVSS 4.0 vector is of one of the classes whose every score is 9.0 or more: reached over the network without
/// privileges, interaction, difficulty or preconditions, with confidentiality and integrity of the vulnerable system lost.
///
/// The full score needs the specification's table of 270 classes; advisories that carry a version 4 vector also say `CRITICAL`
/// in words, which is read first.
///
/// Source: CVSS v4.0 specification, section 8.2 and table 24 (EQ1 = EQ2 = EQ3 = 0).
pub(crate) fn is_surely_critical_v4(vector: &str) -> bool {
    let Some(metrics) = vector.strip_prefix("CVSS:4.0/") else {
        return false;
    };
    const WORST: [(&str, &str); 7] =
        [("AV", "N"), ("AC", "L"), ("AT", "N"), ("PR", "N"), ("UI", "N"), ("VC", "H"), ("VI", "H")];
    WORST.iter().all(|(name, value)| metric(metrics, name) == Some(value))
}

fn metric<'a>(metrics: &'a str, name: &str) -> Option<&'a str> {
    metrics
        .split('/')
        .find_map(|pair| pair.split_once(':').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

/// The smallest number of tenths that is not less than `score`, with the specification's guard against binary fractions.
fn tenths_up(score: f64) -> u8 {
    let hundred_thousandths = (score * 100_000.0).round();
    let mut tenths = 0_u8;
    while f64::from(tenths) * 10_000.0 < hundred_thousandths && tenths < 100 {
        tenths += 1;
    }
    tenths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_scores_are_computed() {
        // From the CVSS v3.1 examples document and the NVD entries of the CVEs named.
        for (vector, score, which) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 100, "CVE-2021-44228"),
            (
                "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
                98,
                "network, no privileges, everything lost",
            ),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 75, "CVE-2014-0160"),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:H/I:H/A:H", 96, "CVE-2012-5376"),
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 64, "CVE-2013-0375"),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 31, "CVE-2014-3566"),
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 99, "CVE-2012-1516"),
            ("CVSS:3.1/AV:P/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 68, "in the hand, everything lost"),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 61, "CVE-2013-1937"),
            ("CVSS:3.0/AV:L/AC:L/PR:N/UI:R/S:U/C:H/I:H/A:H", 78, "CVE-2009-0658"),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:C/C:N/I:H/A:N", 68, "CVE-2008-1447"),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0, "no impact"),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N/E:U", 91, "temporal metrics read over"),
        ] {
            assert_eq!(base_score_v3(vector), Some(score), "{which}");
        }
    }

    #[test]
    fn what_is_not_a_vector_has_no_score() {
        for vector in [
            "",
            "9.8",
            "CVSS:3.1/AV:N",
            "CVSS:2.0/AV:N/AC:L/Au:N/C:C/I:C/A:C",
            "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        ] {
            assert_eq!(base_score_v3(vector), None, "{vector}");
        }
    }

    #[test]
    fn the_worst_of_version_4_is_critical() {
        assert!(is_surely_critical_v4(
            "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"
        ));
        assert!(!is_surely_critical_v4(
            "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:N/VA:N/SC:N/SI:N/SA:N"
        ));
        assert!(!is_surely_critical_v4("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"));
    }
}
