//! What vendors register themselves: with which ticket, and that nothing of it widens without two operators.

use super::fixture::{
    CREDENTIAL, INTEGRATION, LATER, NOW, Person, VENDOR, World, apply, approve, vendor_add,
};
use crate::registry::command::{ApprovedKey, Command};
use crate::registry::signed::CommandError;
use crate::registry::{NotRegistered, Registration, RegistryError};
use authority::register::ClientMetadata;
use model::{CredentialId, CredentialState, Digest, IntegrationId, Means, Micros, UnixMicros};
use proptest::prelude::*;
use std::collections::BTreeSet;

const TICKET: Digest = [41; 32];
const OTHER: IntegrationId = IntegrationId::from_bytes([22; 16]);
const SOON: UnixMicros = UnixMicros(NOW.0 + 86_400_000_000);

fn ticket(integration: IntegrationId, ticket: Digest) -> Command {
    Command::RegistrationTicket { integration, ticket, until: SOON }
}

/// Keys of these people, and these addresses.
fn metadata(people: &[u8], redirects: &[&str]) -> ClientMetadata {
    let keys: Vec<_> = people.iter().map(|n| Person::new(*n).jwk()).collect();
    let json = serde_json::json!({ "jwks": { "keys": keys }, "redirect_uris": redirects });
    ClientMetadata::parse(json.to_string().as_bytes(), None).unwrap()
}

fn approval(people: &[u8], redirects: &[&str]) -> Command {
    let key = |n: &u8| ApprovedKey {
        credential: CredentialId::from_bytes([*n; 16]),
        jwk: Person::new(*n).jwk(),
    };
    Command::RegistrationApprove {
        integration: INTEGRATION,
        keys: people.iter().map(key).collect(),
        redirect_uris: redirects.iter().map(|&uri| uri.to_owned()).collect(),
        until: LATER,
        networks: Vec::new(),
    }
}

/// A world with an approved integration whose vendor asked for these, with the token 1.
async fn registered(people: &[u8], redirects: &[&str]) -> (World, Registration) {
    let world = World::with_integration().await;
    world.one(ticket(INTEGRATION, TICKET)).await.unwrap();
    let asked = metadata(people, redirects);
    let registration = world.registry.register(&TICKET, &[1; 32], &asked, NOW).await.unwrap();
    (world, registration)
}

/// Thumbprints in use, and addresses.
async fn effective(world: &World) -> (BTreeSet<Digest>, BTreeSet<String>) {
    let directory = world.registry.directory().await.unwrap();
    let of = directory.credentials.values().filter(|c| c.integration == INTEGRATION);
    let used = of.filter(|c| matches!(c.state, CredentialState::Active { .. }));
    let redirects = &directory.integrations[&INTEGRATION].redirects;
    (
        used.filter_map(|c| match &c.means {
            Means::Key { thumbprint, .. } => Some(*thumbprint),
            Means::Certificate { .. } | Means::Ca { .. } => None,
        })
        .collect(),
        redirects.iter().cloned().collect(),
    )
}

fn unknown<T: std::fmt::Debug>(result: Result<T, NotRegistered>) {
    assert!(matches!(result, Err(NotRegistered::Unknown)), "{result:?}");
}

#[tokio::test]
async fn what_a_vendor_asks_for_waits_for_two_operators() {
    let (world, registration) = registered(&[91], &["https://a.example/cb"]).await;
    let before = effective(&world).await;
    assert_eq!(registration.pending, metadata(&[91], &["https://a.example/cb"]));
    assert_eq!(registration.effective.keys.len(), 1, "the key that operators added");
    assert_eq!((before.0.len(), before.1.len()), (1, 0), "nothing more is in effect");

    let approve = approval(&[91], &["https://a.example/cb"]);
    let alone = world.one(approve.clone()).await;
    assert!(matches!(
        alone,
        Err(RegistryError::NotAuthorised(CommandError::TooFewKeys { needed: 2, .. }))
    ));
    world.both(approve).await.unwrap();
    let (keys, redirects) = effective(&world).await;
    assert_eq!((keys.len(), redirects.len()), (2, 1));
    let [row] = &world.registry.registrations(NOW).await.unwrap()[..] else { panic!("one") };
    assert!(row.pending.is_empty());
    assert!(world.both(approval(&[91], &[])).await.is_err(), "once");
}

#[tokio::test]
async fn what_was_not_asked_for_in_these_words_is_not_approved() {
    let (world, _) = registered(&[91, 92], &["https://a.example/cb"]).await;
    let before = effective(&world).await;
    for other in [
        approval(&[91], &["https://a.example/cb"]),
        approval(&[91, 92, 93], &["https://a.example/cb"]),
        approval(&[91, 92], &["https://a.example/cb2"]),
        approval(&[91, 92], &[]),
        approval(&[], &[]),
    ] {
        assert!(matches!(world.both(other).await, Err(RegistryError::Invalid(_))));
    }
    assert_eq!(effective(&world).await, before);
    // What was signed for one request is not good for the next.
    let asked = metadata(&[91], &["https://evil.example/cb"]);
    world.one(ticket(INTEGRATION, TICKET)).await.unwrap();
    world.registry.register(&TICKET, &[2; 32], &asked, NOW).await.unwrap();
    assert!(world.both(approval(&[91, 92], &["https://a.example/cb"])).await.is_err());
    assert_eq!(effective(&world).await, before);
}

#[tokio::test]
async fn a_ticket_is_good_once_for_one_integration_until_its_day() {
    let (world, _) = registered(&[91], &[]).await;
    let register = |ticket, now| {
        let (registry, asked) = (world.registry.clone(), metadata(&[94], &[]));
        async move { registry.register(&ticket, &[9; 32], &asked, now).await }
    };
    unknown(register(TICKET, NOW).await);
    unknown(register([42; 32], NOW).await);
    // Another integration's ticket registers that integration, whoever presents it.
    let other =
        Command::IntegrationApply { integration: OTHER, slug: "acme-mail".into(), vendor: VENDOR };
    world.one(other).await.unwrap();
    world.one(ticket(OTHER, [43; 32])).await.unwrap();
    unknown(register([43; 32], SOON).await);
    assert_eq!(register([43; 32], NOW).await.unwrap().integration, OTHER);
    // Nor is its token one for this client.
    let tokens = [&[9; 32], &[10; 32]];
    unknown(world.registry.read_registration(INTEGRATION, tokens, NOW).await);
    let nothing = ClientMetadata::default();
    unknown(world.registry.replace_registration(INTEGRATION, tokens, &nothing, NOW).await);
    unknown(world.registry.end_registration(INTEGRATION, &[9; 32]).await);
    // The later ticket of an integration replaces the earlier one.
    for hash in [[44; 32], [45; 32]] {
        world.one(ticket(INTEGRATION, hash)).await.unwrap();
    }
    unknown(register([44; 32], NOW).await);
    let long = Command::RegistrationTicket {
        integration: INTEGRATION,
        ticket: TICKET,
        until: NOW + Micros::from_secs(31 * 86_400),
    };
    assert!(world.one(long).await.is_err());
}

#[tokio::test]
async fn a_token_is_good_for_one_use() {
    let (world, _) = registered(&[91], &[]).await;
    let read = |tokens: [u8; 2]| {
        let (registry, [access, next]) = (world.registry.clone(), tokens.map(|n| [n; 32]));
        async move { registry.read_registration(INTEGRATION, [&access, &next], NOW).await }
    };
    read([1, 2]).await.unwrap();
    unknown(read([1, 3]).await);
    read([2, 3]).await.unwrap();
    // A use that is refused leaves it as good as it was: the client was told of no other.
    let taken = metadata(&[90], &[]);
    let stolen =
        world.registry.replace_registration(INTEGRATION, [&[3; 32], &[4; 32]], &taken, NOW);
    stolen.await.unwrap();
    world.registry.end_registration(INTEGRATION, &[4; 32]).await.unwrap();
    unknown(read([4, 5]).await);
    let directory = world.registry.directory().await.unwrap();
    assert_eq!(directory.credentials[&CREDENTIAL].state, CredentialState::Retired);
}

#[tokio::test]
async fn what_an_update_leaves_out_goes_at_once_and_what_it_adds_waits() {
    let (world, _) = registered(&[91], &["https://a.example/1", "https://a.example/2"]).await;
    world.both(approval(&[91], &["https://a.example/1", "https://a.example/2"])).await.unwrap();
    let before = world.registry.directory().await.unwrap().revision;
    let wanted = metadata(&[91, 95], &["https://a.example/2", "https://b.example/"]);
    let replaced = world
        .registry
        .replace_registration(INTEGRATION, [&[1; 32], &[2; 32]], &wanted, NOW)
        .await
        .unwrap();
    assert_eq!(replaced.effective, metadata(&[91], &["https://a.example/2"]));
    assert_eq!(replaced.pending, metadata(&[95], &["https://b.example/"]));
    let directory = world.registry.directory().await.unwrap();
    assert!(directory.revision > before);
    assert_eq!(directory.credentials[&CREDENTIAL].state, CredentialState::Retired);
    // A key that went is gone for good, also for its own client.
    let back = metadata(&[90, 91], &[]);
    let refused =
        world.registry.replace_registration(INTEGRATION, [&[2; 32], &[3; 32]], &back, NOW).await;
    assert!(matches!(refused, Err(NotRegistered::Bad(_))), "{refused:?}");
    world.both(approval(&[95], &["https://b.example/"])).await.unwrap();
    assert_eq!(effective(&world).await.0.len(), 2);
}

#[tokio::test]
async fn a_freeze_and_a_cut_add_nothing_and_let_go() {
    let (world, _) = registered(&[91], &["https://a.example/cb"]).await;
    world.one(ticket(INTEGRATION, [46; 32])).await.unwrap();
    let more = metadata(&[96], &[]);
    let less = ClientMetadata::default();
    let freeze = Command::Freeze { reason: "incident".into() };
    let sever = Command::Sever {
        target: "integration:acme-desk".parse().unwrap(),
        reason: "incident".into(),
    };
    for (stop, [present, next]) in [(freeze, [1, 2]), (sever, [2, 3])] {
        world.one(stop).await.unwrap();
        let refused = world.registry.register(&[46; 32], &[7; 32], &more, NOW).await;
        assert!(matches!(refused, Err(NotRegistered::NotNow)), "{refused:?}");
        assert!(world.one(ticket(INTEGRATION, [47; 32])).await.is_err());
        assert!(world.both(approval(&[91], &["https://a.example/cb"])).await.is_err());
        let tokens = [&[present; 32], &[next; 32]];
        let refused = world.registry.replace_registration(INTEGRATION, tokens, &more, NOW).await;
        assert!(matches!(refused, Err(NotRegistered::NotNow)), "{refused:?}");
        world.registry.replace_registration(INTEGRATION, tokens, &less, NOW).await.unwrap();
        if present == 1 {
            world.both(Command::Unfreeze {}).await.unwrap();
        }
    }
    world.registry.end_registration(INTEGRATION, &[3; 32]).await.unwrap();
    unknown(world.registry.register(&[46; 32], &[7; 32], &more, NOW).await);
}

#[tokio::test]
async fn nobody_registers_for_an_integration_that_is_not_there() {
    let world = World::new().await;
    assert!(matches!(world.one(ticket(INTEGRATION, TICKET)).await, Err(RegistryError::Unknown(_))));
    world.one(vendor_add()).await.unwrap();
    world.one(apply()).await.unwrap();
    world.one(ticket(INTEGRATION, TICKET)).await.unwrap();
    assert!(world.both(approval(&[91], &[])).await.is_err(), "nothing was asked for");
    assert!(world.both(approve()).await.is_err());
}

/// One step that a vendor takes with its present token, or operators take with what waits.
#[derive(Clone, Debug)]
enum Taken {
    Replace(BTreeSet<u8>, BTreeSet<u8>),
    Approve,
}

fn steps() -> impl Strategy<Value = Vec<Taken>> {
    let some = || prop::collection::btree_set(100_u8..106, 0..4);
    let replace = (some(), some()).prop_map(|(keys, uris)| Taken::Replace(keys, uris));
    prop::collection::vec(prop_oneof![3 => replace, 1 => Just(Taken::Approve)], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Against a naive reference: whatever a vendor asks for in whatever order, only operators ever add anything.
    #[test]
    fn only_operators_add(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (world, _) = registered(&[99], &[]).await;
            let mut token = 1_u8;
            for step in steps {
                let before = effective(&world).await;
                match step {
                    Taken::Replace(keys, uris) => {
                        let keys: Vec<_> = keys.into_iter().collect();
                        let uris: Vec<_> = uris.iter().map(|n| format!("https://a.example/{n}")).collect();
                        let wanted = metadata(&keys, &uris.iter().map(|uri| &**uri).collect::<Vec<_>>());
                        let tokens = [&[token; 32], &[token + 1; 32]];
                        let replaced = world.registry.replace_registration(INTEGRATION, tokens, &wanted, NOW).await;
                        token += u8::from(replaced.is_ok());
                        let after = effective(&world).await;
                        assert!(after.0.is_subset(&before.0));
                        assert!(after.1.is_subset(&before.1));
                        if let Ok(replaced) = replaced {
                            assert!(after.0.iter().all(|key| wanted.keys.contains_key(key)));
                            assert_eq!(replaced.effective.keys.len() + replaced.pending.keys.len(), wanted.keys.len());
                        }
                    }
                    Taken::Approve => {
                        let [row] = &world.registry.registrations(NOW).await.unwrap()[..] else { panic!("one") };
                        let people: Vec<u8> = (99..106).filter(|n| {
                            metadata(&[*n], &[]).keys.keys().all(|key| row.pending.keys.contains_key(key))
                        }).collect();
                        let uris: Vec<&str> = row.pending.redirects.iter().map(|uri| &**uri).collect();
                        let done = world.both(approval(&people, &uris)).await;
                        assert_eq!(done.is_ok(), !row.pending.is_empty());
                        let after = effective(&world).await;
                        assert_eq!(after.0.len(), before.0.len() + people.len());
                    }
                }
            }
        });
    }
}
