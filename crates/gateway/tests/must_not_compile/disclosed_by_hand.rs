// A `Disclosed` that no filter saw.

use disclosure::Disclosed;

fn another(proved: Disclosed) -> Disclosed {
    Disclosed { ..proved }
}
