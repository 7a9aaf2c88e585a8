//! What compiles and what does not.

use crate::*;
use expect_test::{Expect, expect};
use model::ClassTable;

/// Compiles a document with one operation, `GET /x`, answering with `schema` (YAML flow style), and shows the error or the
/// counts of classified and unclassified properties.
fn check(version: &str, schema: &str, expect: Expect) {
    let document = format!(
        "{{openapi: {version}, paths: {{/x: {{get: {{operationId: x, responses: {{200: {{content: {{application/json: {{schema: {schema}}}}}}}}}}}}}}}, \
         components: {{schemas: {{Loop: {{allOf: [{{$ref: '#/components/schemas/Loop'}}]}}, \
         Tree: {{type: object, properties: {{v: {{type: string, x-portcullis-class: user.a}}, l: {{$ref: '#/components/schemas/Tree'}}, r: {{allOf: [{{$ref: '#/components/schemas/Tree'}}, {{description: right}}]}}}}}}}}}}}}"
    );
    let shown = match Contract::compile(&document, "", &mut ClassTable::default()) {
        Ok(contract) => {
            let d = contract.describe();
            assert_eq!(d.withheld.len(), d.unclassified, "{:?}", d.withheld);
            format!("{} classified, {} not", d.classified, d.unclassified)
        }
        Err(error) => error.to_string(),
    };
    expect.assert_eq(&shown);
}

#[test]
fn recursive_schemas_compile() {
    check("3.1.0", "{$ref: '#/components/schemas/Tree'}", expect!["1 classified, 0 not"]);
    check(
        "3.1.0",
        "{type: array, items: {$ref: '#/components/schemas/Tree'}}",
        expect!["1 classified, 0 not"],
    );
    check(
        "3.1.0",
        "{$ref: '#/components/schemas/Loop'}",
        expect!["`#/components/schemas/Loop` is defined by itself"],
    );
}

#[test]
fn references_stay_inside_the_document() {
    check(
        "3.1.0",
        "{$ref: 'https://example.com/schema.json'}",
        expect!["reference `https://example.com/schema.json` leaves the document"],
    );
    check(
        "3.1.0",
        "{$ref: 'other.yaml#/A'}",
        expect!["reference `other.yaml#/A` leaves the document"],
    );
    check(
        "3.1.0",
        "{$ref: '#/components/schemas/Missing'}",
        expect!["nothing is at `/components/schemas/Missing`"],
    );
}

#[test]
fn neighbours_of_a_reference_count_in_3_1_and_our_annotations_in_both() {
    let neighbour = "{$ref: '#/components/schemas/Tree', properties: {w: {type: string, x-portcullis-class: user.b}}}";
    check("3.1.0", neighbour, expect!["2 classified, 0 not"]);
    check("3.0.3", neighbour, expect!["1 classified, 0 not"]);
    let annotated = "{$ref: '#/components/schemas/Tree', x-portcullis-subject: {pointer: /v}}";
    check("3.0.3", annotated, expect!["1 classified, 0 not"]);
}

#[test]
fn annotations_that_would_do_nothing_do_not_compile() {
    check(
        "3.1.0",
        "{type: object, x-portcullis-class: user.a}",
        expect![
            "at `#/paths/~1x/get/responses/200/content/application~1json/schema`: a class stands on an object"
        ],
    );
    check(
        "3.1.0",
        "{type: string, x-portcullis-class: User}",
        expect![
            "at `#/paths/~1x/get/responses/200/content/application~1json/schema`: a class is a dotted name such as `user.contact`"
        ],
    );
    check(
        "3.1.0",
        "{type: string, x-portcullis-clas: user.a}",
        expect![
            "at `#/paths/~1x/get/responses/200/content/application~1json/schema`: unknown annotation `x-portcullis-clas`"
        ],
    );
    check(
        "3.1.0",
        "{type: integer, x-portcullis-free-text: true}",
        expect![
            "at `#/paths/~1x/get/responses/200/content/application~1json/schema`: free text is `true` on a string"
        ],
    );
    check(
        "3.1.0",
        "{type: string, x-portcullis-subject: {pointer: /id}}",
        expect![
            "at `#/paths/~1x/get/responses/200/content/application~1json/schema`: a subject stands on something not an object"
        ],
    );
    check(
        "3.1.0",
        "{type: object, x-portcullis-subject: {pointer: id}}",
        expect![
            "at `#/paths/~1x/get/responses/200/content/application~1json/schema`: a subject is `none` or `pointer: /...`"
        ],
    );
    check(
        "3.1.0",
        "{type: object, properties: {id: {type: string}}, x-portcullis-subject: {pointer: /idd}}",
        expect![
            "at `#/paths/~1x/get/responses/200/content/application~1json/schema`: subject pointer `/idd` leads to no declared string or number"
        ],
    );
    check(
        "3.1.0",
        "{type: array, x-portcullis-class: user.a, items: {type: object}}",
        expect![
            "at `#/paths/~1x/get/responses/200/content/application~1json/schema/items`: a class stands on a list whose items are not scalars"
        ],
    );
}

#[test]
fn other_versions_do_not_compile() {
    check("2.0.0", "{}", expect!["`openapi: 2.0.0` is neither 3.0.x nor 3.1.x"]);
    check("3.2.0", "{}", expect!["`openapi: 3.2.0` is neither 3.0.x nor 3.1.x"]);
}

fn routes(paths: &[&str]) -> Result<Contract, ContractError> {
    let operations: String =
        paths.iter().map(|path| format!("  '{path}': {{get: {{responses: {{}}}}}}\n")).collect();
    Contract::compile(
        &format!("openapi: 3.1.0\npaths:\n{operations}"),
        "",
        &mut ClassTable::default(),
    )
}

#[test]
fn concrete_segments_go_before_templated_ones() {
    let contract =
        routes(&["/u/{id}", "/u/me", "/u/{other}/files", "/w/{id}.json", "/t.{ext}"]).unwrap();
    let find = |path: &str| {
        contract.operation("GET", path).map(|found| {
            let values: Vec<&str> = found.parameters.iter().map(|(_, value)| &**value).collect();
            format!("{} {}", found.operation.path(), values.join(","))
        })
    };
    assert_eq!(find("/u/me"), Ok("/u/me ".into()));
    assert_eq!(find("/u/a%20b"), Ok("/u/{id} a b".into()));
    assert_eq!(find("/u/1/files"), Ok("/u/{other}/files 1".into()));
    assert_eq!(find("/w/5.json"), Ok("/w/{id}.json 5".into()));
    assert_eq!(find("/t.png"), Ok("/t.{ext} png".into()));
    for unknown in ["/u", "/u/", "/U/me", "/u/1/", "/u//files", "/u/1/2", "", "*", "/%75/me"] {
        assert_eq!(find(unknown), Err(NoOperation::Path), "{unknown}");
    }
    assert_eq!(find("/u/%ff"), Err(NoOperation::Malformed));
    assert_eq!(contract.operation("POST", "/u/me").unwrap_err(), NoOperation::Method);
}

#[test]
fn templates_that_cannot_be_told_apart_do_not_compile() {
    for paths in
        [&["/u/{a}", "/u/{b}"][..], &["/{a}-{b}"], &["/{a"], &["/a}"], &["u"], &["/{a}/{a}"]]
    {
        assert!(matches!(routes(paths), Err(ContractError::Template { .. })), "{paths:?}");
    }
    assert!(routes(&["/u/{*rest}"]).unwrap().operation("GET", "/u/a/b").is_err(), "no catch-all");
}

#[test]
fn fragments_document_variants_that_no_request_can_name() {
    let contract = routes(&["/f/{id}", "/f/{id}#share"]).unwrap();
    assert_eq!(contract.operations().count(), 2);
    assert_eq!(contract.operation("GET", "/f/1").unwrap().operation.path(), "/f/{id}");
    assert!(contract.operation("GET", "/f/1#share").unwrap().operation.is_routed());
}

#[test]
fn the_hash_is_of_both_documents_as_given() {
    let text = "openapi: 3.1.0\npaths: {}\n";
    let hash =
        |openapi: &str| Contract::compile(openapi, "", &mut ClassTable::default()).unwrap().hash();
    assert_eq!(hash(text), hash(text));
    assert_ne!(hash(text), hash(&format!("{text}# comment\n")));
}

#[test]
fn an_operation_can_demand_a_signature() {
    let compiled = |annotation: &str| {
        let text = format!("openapi: 3.1.0\npaths: {{/x: {{get: {{{annotation}}}}}}}\n");
        Contract::compile(&text, "", &mut ClassTable::default())
            .map(|contract| contract.operation("GET", "/x").unwrap().operation.requires_signature())
            .map_err(|error| error.to_string())
    };
    assert_eq!(compiled(""), Ok(false));
    assert_eq!(compiled("x-portcullis-signature: required"), Ok(true));
    let wrong = "at `/paths/~1x/get`: a signature is `required`, or not mentioned";
    for said in ["true", "optional", "none", "[required]"] {
        assert_eq!(compiled(&format!("x-portcullis-signature: {said}")), Err(wrong.to_owned()));
    }
    let misspelled = "at `/paths/~1x/get`: `x-portcullis-signed` means nothing on an operation";
    assert_eq!(compiled("x-portcullis-signed: required"), Err(misspelled.to_owned()));
}

#[test]
fn annotations_that_nothing_leads_to_are_listed() {
    let text = "openapi: 3.1.0\npaths: {/x: {x-portcullis-subject: none, get: {x-portcullis-operation: read}}}\n\
        components: {schemas: {Lost: {properties: {a: {type: string, x-portcullis-class: user.a}}}}}\n";
    let contract = Contract::compile(text, "", &mut ClassTable::default()).unwrap();
    assert_eq!(contract.describe().unread, ["/components/schemas/Lost/properties/a", "/paths/~1x"]);
}
