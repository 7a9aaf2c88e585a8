//! Steps that cannot be left out: each case under `tests/must_not_compile` is refused by the compiler, and its twin of
//! the same name under `tests/compiles`, which differs in one line, is not.
//!
//! They are doc tests because those see the crates that are built already. trybuild checks every dependency again in a
//! target directory of its own: 350 s of processor time from clean, where these take 4.
//! Beside each name stands the error it must be refused with, which rustdoc compares where it has unstable features.
//! `tests/must_not_compile.rs` compares the twins and this list.

macro_rules! twins {
    ($($name:ident $error:ident)*) => {$(
        #[doc = concat!("```compile_fail,", stringify!($error))]
        #[doc = include_str!(concat!("../tests/must_not_compile/", stringify!($name), ".rs"))]
        #[doc = "```"]
        #[doc = ""]
        #[doc = "```no_run"]
        #[doc = include_str!(concat!("../tests/compiles/", stringify!($name), ".rs"))]
        #[doc = "```"]
        mod $name {}
    )*};
}

twins! {
    a_passage_is_not_copied E0599
    authorised_by_hand E0451
    caller_by_hand E0451
    decision_without_caller E0061
    disclosed_by_hand E0451
    disclosure_without_permit E0061
    list_of_fields_by_hand E0423
    one_disclosure_released_twice E0382
    origin_is_asked_for_a_raw_target E0308
    origin_is_sent_raw_fields E0308
    passage_by_hand E0451
    permit_by_hand E0451
    receipt_by_hand E0451
    release_of_an_origin_reply E0308
    release_without_disclosure E0061
    release_without_passage E0061
    release_without_receipt E0061
    reply_by_hand E0451
    two_releases_on_one_passage E0382
}
