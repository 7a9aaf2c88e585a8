SELECT integration FROM rollup_ever WHERE bitAnd(classes, {mask}) != 0
