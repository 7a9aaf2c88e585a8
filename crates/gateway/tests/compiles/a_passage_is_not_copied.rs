// A copy of a passage, which would go on after a sever has settled the original.

use sever::Passage;

fn another(passage: Passage) -> Passage {
    passage
}
