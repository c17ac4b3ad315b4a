//! Pools of a coupling: the noise is dealt out, and stays noise.

use crate::chance::Chance;
use crate::support::{CPU, all_differ, config, rows};
use sadm_gpu::train::{Data, HoldOut};

#[test]
fn noise_of_pools_is_normal_and_never_dealt_twice() {
    let mut chance = Chance::of("pools");
    for classes in ["together", "within"] {
        let classes = format!("coupling.classes={classes}");
        let keys = [
            "coupling.method=optimal",
            "coupling.pool=24",
            "train.batch=8",
            classes.as_str(),
        ];
        let own = config(chance.seed(), &keys);
        let mut data = Data::open(&own, HoldOut::ByClass, &CPU).expect("the digits");
        let mut drawn = Vec::new();
        for who in ["theta", "phi"] {
            let mut noise = Vec::new();
            for number in 0..120 {
                noise.extend(rows(
                    &data.batch(&own, who, number, 8).expect("a batch").eps,
                ));
            }
            chance.normal(
                &format!("{who}, {classes}"),
                noise.iter().flatten().copied(),
            );
            drawn.extend(noise);
        }
        all_differ(&classes, &drawn);
    }
}
