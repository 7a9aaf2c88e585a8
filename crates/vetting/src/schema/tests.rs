use super::*;
use expect_test::{Expect, expect};

#[test]
fn a_keyword_that_is_not_understood_is_never_ignored() {
    let wrong = Schema::compile(r#"{"properties":{"a":{"contains":{}}}}"#, "{}").err();
    assert_eq!(wrong.as_deref(), Some("#: properties: contains: is not understood"));
    assert!(Schema::compile(r##"{"$ref":"#/definitions/none"}"##, "{}").is_err());
    assert!(Schema::compile(r#"{"format":"hostname"}"#, "{}").is_err());
}

#[test]
fn each_keyword_refuses_and_names_the_place() {
    check(r#"{"type":"object"}"#, "[]", expect!["`` must be an object, is a list"]);
    check(
        r#"{"properties":{"a/b":{"type":"integer"}}}"#,
        r#"{"a/b":1.5}"#,
        expect!["`/a~1b` must be a whole number, is a number"],
    );
    check(r#"{"required":["a"]}"#, "{}", expect!["`` the member `a` is missing"]);
    check(
        r#"{"additionalProperties":false}"#,
        r#"{"a":1}"#,
        expect!["`/a` is not a member that belongs here"],
    );
    check(r#"{"enum":["x","y"]}"#, r#""z""#, expect![[r#"`` "z" is not one of "x", "y""#]]);
    check(r#"{"const":1}"#, "2", expect!["`` 2 is not one of 1"]);
    check(
        r#"{"items":{"type":"string"}}"#,
        r#"["a",1]"#,
        expect!["`/1` must be a string, is a number"],
    );
    check(
        r#"{"items":[{"type":"string"}],"maxItems":1}"#,
        "[1]",
        expect!["`/0` must be a string, is a number"],
    );
    check(r#"{"maxItems":1}"#, "[1,2]", expect!["`` holds 2 items, too many"]);
    check(r#"{"minItems":1}"#, "[]", expect!["`` holds 0 items, too few"]);
    check(
        r#"{"uniqueItems":true}"#,
        r#"[{"a":1,"b":2},{"b":2,"a":1}]"#,
        expect!["`/1` stands in the list twice"],
    );
    check(r#"{"minLength":1}"#, r#""""#, expect!["`` is 0 characters long, too short"]);
    check(r#"{"maxLength":2}"#, r#""äöü""#, expect!["`` is 3 characters long, too long"]);
    check(r#"{"pattern":"^a+$"}"#, r#""b""#, expect![[r#"`` "b" is not of the form `^a+$`"#]]);
    check(
        r#"{"format":"date-time"}"#,
        r#""2020-04-13""#,
        expect![[r#"`` "2020-04-13" is not an RFC 3339 date and time with an offset"#]],
    );
    check(r#"{"minimum":1}"#, "0", expect!["`` 0 is out of range"]);
    check(r#"{"maximum":1}"#, "1.5", expect!["`` 1.5 is out of range"]);
    check(
        r#"{"allOf":[{"type":"string"},{"minLength":2}]}"#,
        r#""a""#,
        expect!["`` is 1 characters long, too short"],
    );
    check(
        r#"{"anyOf":[{"type":"string"},{"properties":{"a":{"type":"string"}},"type":"object"}]}"#,
        r#"{"a":1}"#,
        expect!["`/a` must be a string, is a number"],
    );
    check(
        r#"{"oneOf":[{"required":["a"]},{"required":["b"]}]}"#,
        r#"{"a":1,"b":1}"#,
        expect!["`` is of two forms at once, of which only one may stand"],
    );
    check(
        r#"{"not":{"required":["a"]}}"#,
        r#"{"a":1}"#,
        expect!["`` is of a form that is ruled out here"],
    );
    check(
        r#"{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}"#,
        r#"{"a":1}"#,
        expect!["`` the member `b` is missing"],
    );
    check(
        r#"{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}"#,
        "{}",
        expect!["`` the member `c` is missing"],
    );
}

#[test]
fn what_a_schema_does_not_speak_of_passes() {
    let schema = Schema::compile(r#"{"properties":{"a":{"type":"integer"}}}"#, "{}").unwrap();
    for document in ["{}", r#"{"a":1.0}"#, r#"{"b":"x"}"#, "3", "[]", "null"] {
        assert_eq!(schema.check(&serde_json::from_str(document).unwrap()), Ok(()), "{document}");
    }
}

#[rustfmt::skip]
    fn check(schema: &str, document: &str, expected: Expect) {
        let schema = Schema::compile(schema, "{}").unwrap();
        let fault = schema.check(&serde_json::from_str(document).unwrap()).unwrap_err();
        expected.assert_eq(&format!("`{}` {}", fault.pointer(), fault.says));
    }
