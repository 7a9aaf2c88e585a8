use super::*;

#[tokio::test]
async fn a_rules_case_whose_name_is_taken_opens_under_another() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(&folder.path().join("registry.db")).await.unwrap();
    let now = UnixMicros::from_secs(1_000);
    let open = async |id: u8, names: &[u8]| {
        let id = IncidentId::new(now, [id; 10]);
        let named = |[name, _]: [u8; 2]| {
            let events = vec!["{}".to_owned()];
            CaseRow { id, name: format!("honey-{name}"), events }
        };
        let mut names = names.iter().cycle();
        let random = || [*names.next().unwrap(), 0];
        open_with_a_free_name(&registry, ("honey", "int"), now, named, random).await
    };
    open(1, &[1]).await.unwrap();
    open(2, &[1, 1, 2]).await.unwrap();
    assert_eq!(registry.case_of_rule("honey", "int").await.unwrap().unwrap().name, "honey-2");
    assert!(matches!(open(3, &[1, 2]).await, Err(RegistryError::Taken(_))), "given up");
}
