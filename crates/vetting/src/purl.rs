//! Package URLs, as far as matching a component with an advisory needs them: type, namespace, name and version.
//!
//! Qualifiers and subpath are dropped: no advisory is about them.

use std::fmt;

/// A package URL such as `pkg:npm/%40scope/name@1.2.3`, decoded and normalised for its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purl {
    /// Lower case: `npm`, `pypi`, `cargo`, ...
    pub kind: String,
    /// The parts before the name, joined by `/`; empty if there are none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version, as written.
    pub version: Option<String>,
}

/// Text that is not a package URL. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a package URL")]
pub struct BadPurl;

/// A package as OSV names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package {
    /// Such as `npm`, without the release that may follow a colon (`Debian:12` is `Debian`).
    pub ecosystem: String,
    /// The name, in the form that this ecosystem takes for equal.
    pub name: String,
}

impl Purl {
    /// Reads a package URL.
    ///
    /// # Errors
    /// [`BadPurl`] if there is no type or name, or the percent-encoding is not whole UTF-8.
    ///
    /// Source: purl-spec, "How to parse a purl string". Deviation: qualifiers and subpath are dropped unread.
    pub fn parse(text: &str) -> Result<Self, BadPurl> {
        let rest = text.split_once('#').map_or(text, |(rest, _subpath)| rest);
        let rest = rest.split_once('?').map_or(rest, |(rest, _qualifiers)| rest);
        let (scheme, rest) = rest.split_once(':').ok_or(BadPurl)?;
        let (kind, rest) = rest.trim_start_matches('/').split_once('/').ok_or(BadPurl)?;
        let kind_is_valid = kind.starts_with(|c: char| c.is_ascii_alphabetic())
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b));
        if !scheme.eq_ignore_ascii_case("pkg") || !kind_is_valid {
            return Err(BadPurl);
        }
        // An npm scope is sometimes written with a bare `@`; a version's `@` comes after the last `/`.
        let path = rest.trim_matches('/');
        let name_start = path.rfind('/').map_or(0, |slash| slash + 1);
        let version_at =
            path.get(name_start..).and_then(|name| name.rfind('@')).filter(|&at| at > 0);
        let (path, version) = match version_at {
            Some(at) => {
                let (path, version) = path.split_at(name_start + at);
                (path, version.get(1..).filter(|version| !version.is_empty()))
            }
            None => (path, None),
        };
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(decode)
            .collect::<Result<_, _>>()?;
        let (name, namespace) = parts.split_last().ok_or(BadPurl)?;
        let version = version.map(decode).transpose()?;
        Ok(Self {
            kind: kind.to_ascii_lowercase(),
            namespace: namespace.join("/"),
            name: name.clone(),
            version,
        })
    }

    /// The package this is a version of, in OSV's terms; `None` if OSV has no ecosystem for the type.
    ///
    /// Source: OSV schema, "Defined Ecosystems".
    pub fn package(&self) -> Option<Package> {
        let joined = |separator| match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}{separator}{}", self.name),
        };
        let (ecosystem, name) = match self.kind.as_str() {
            "npm" => ("npm", joined("/")),
            "pypi" => ("PyPI", self.name.clone()),
            "cargo" => ("crates.io", self.name.clone()),
            "golang" => ("Go", joined("/")),
            "maven" => ("Maven", joined(":")),
            "gem" => ("RubyGems", self.name.clone()),
            "nuget" => ("NuGet", self.name.clone()),
            "composer" => ("Packagist", joined("/")),
            "hex" => ("Hex", self.name.clone()),
            "pub" => ("Pub", self.name.clone()),
            "swift" => ("SwiftURL", joined("/")),
            "githubactions" => ("GitHub Actions", joined("/")),
            "deb" if self.namespace == "ubuntu" => ("Ubuntu", self.name.clone()),
            "deb" => ("Debian", self.name.clone()),
            "apk" => ("Alpine", self.name.clone()),
            _ => return None,
        };
        Some(Package::new(ecosystem, &name))
    }
}

impl Package {
    /// The package called `name` in `ecosystem`, both as OSV writes them.
    pub fn new(ecosystem: &str, name: &str) -> Self {
        let ecosystem = ecosystem.split_once(':').map_or(ecosystem, |(base, _release)| base);
        let name = match ecosystem {
            "PyPI" => pep503(name),
            // These registries take names that differ in case for one name; npm and crates.io hold lower case only, but for
            // a few old npm names, which an attacker could otherwise hide behind.
            // The purl types `golang` and `swift` are written in lower case, whatever the module's path is.
            "npm" | "NuGet" | "Packagist" | "GitHub Actions" | "Hex" | "Go" | "SwiftURL" => {
                name.to_lowercase()
            }
            "crates.io" => name.to_lowercase().replace('_', "-"),
            _ => name.to_owned(),
        };
        Self { ecosystem: ecosystem.to_owned(), name }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.ecosystem, self.name)
    }
}

/// PEP 503: runs of `-`, `_` and `.` are one `-`; case does not matter.
fn pep503(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

fn decode(text: &str) -> Result<String, BadPurl> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(BadPurl)?;
        let digits = std::str::from_utf8(digits).map_err(|_| BadPurl)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadPurl);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BadPurl)?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| BadPurl)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_module_that_osv_writes_with_capitals_is_found_by_its_package_url() {
        let url = Purl::parse("pkg:golang/github.com/masterminds/goutils@v1.1.0").unwrap();
        assert_eq!(url.package(), Some(Package::new("Go", "github.com/Masterminds/goutils")));
    }

    #[test]
    fn a_package_url_becomes_the_package_osv_names() {
        for (purl, package, version) in [
            ("pkg:npm/lodash@4.17.20", "npm lodash", Some("4.17.20")),
            ("pkg:npm/%40angular/core@16.0.0", "npm @angular/core", Some("16.0.0")),
            ("pkg:npm/@angular/core", "npm @angular/core", None),
            ("pkg:pypi/Zope.Interface@5.0", "PyPI zope-interface", Some("5.0")),
            ("pkg:cargo/serde_json@1.0.1?arch=x86#src", "crates.io serde-json", Some("1.0.1")),
            (
                "pkg:golang/github.com/gorilla/mux@v1.8.0",
                "Go github.com/gorilla/mux",
                Some("v1.8.0"),
            ),
            (
                "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?type=jar",
                "Maven org.apache.logging.log4j:log4j-core",
                Some("2.14.1"),
            ),
            ("pkg:gem/rails@7.0", "RubyGems rails", Some("7.0")),
            ("pkg:nuget/Newtonsoft.Json@12.0.1", "NuGet newtonsoft.json", Some("12.0.1")),
            ("pkg:composer/laravel/framework@9", "Packagist laravel/framework", Some("9")),
            ("pkg:deb/debian/curl@7.50.3-1%2Bb1?arch=i386", "Debian curl", Some("7.50.3-1+b1")),
            ("pkg:golang/example.com/a@b/c", "Go example.com/a@b/c", None),
            ("PKG://npm//x@1", "npm x", Some("1")),
        ] {
            let read = Purl::parse(purl).unwrap();
            assert_eq!(read.package().unwrap().to_string(), package, "{purl}");
            assert_eq!(read.version.as_deref(), version, "{purl}");
        }
    }

    #[test]
    fn what_is_not_a_package_url_is_refused() {
        for text in [
            "",
            "npm/x@1",
            "pkg:",
            "pkg:npm",
            "pkg:npm/",
            "http://npm/x",
            "pkg:1npm/x",
            "pkg:npm/%4",
            "pkg:npm/%zz",
            "pkg:npm/%ff",
            "pkg:n m/x",
        ] {
            assert_eq!(Purl::parse(text), Err(BadPurl), "{text}");
        }
    }

    #[test]
    fn a_type_that_osv_does_not_know_has_no_package() {
        assert_eq!(Purl::parse("pkg:generic/openssl@1.1").unwrap().package(), None);
    }

    #[test]
    fn releases_of_a_distribution_are_one_ecosystem() {
        assert_eq!(Package::new("Debian:12", "curl"), Package::new("Debian", "curl"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(pkg:)?[a-z]{0,3}/?.{0,20}[@%/].{0,8}") {
            let _ = Purl::parse(&text);
        }
    }
}
