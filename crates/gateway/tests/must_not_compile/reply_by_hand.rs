// A `Reply` that holds what was not released.

use gateway::release::Reply;

fn another(proved: Reply) -> Reply {
    Reply { ..proved }
}
