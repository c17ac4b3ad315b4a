//! The presets embedded in the program.

/// A named configuration.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// Name, as `--preset` takes it.
    pub name: &'static str,
    /// One line on what it trains.
    pub about: &'static str,
    text: &'static str,
}

/// Every preset.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "digits",
        about: "U-Net on the embedded 8×8 digits: Ψ, denoising, guidance, adversarial rounds; minutes on two cores",
        text: include_str!("../presets/digits.toml"),
    },
    Preset {
        name: "digits-dit",
        about: "the same with a small DiT",
        text: include_str!("../presets/digits-dit.toml"),
    },
    Preset {
        name: "mnist",
        about: "U-Net on MNIST 28×28 (needs the files: data.dir or SADM_DATA_DIR)",
        text: include_str!("../presets/mnist.toml"),
    },
    Preset {
        name: "cifar10",
        about: "U-Net on CIFAR-10 32×32 (needs the files: data.dir or SADM_DATA_DIR)",
        text: include_str!("../presets/cifar10.toml"),
    },
    Preset {
        name: "cifar10-dit",
        about: "DiT-S/2 on CIFAR-10 with the published objective, optimiser and sampler (needs the files, as cifar10)",
        text: include_str!("../presets/cifar10-dit.toml"),
    },
    Preset {
        name: "edm-cifar10",
        about: "EDM's DDPM++ on CIFAR-10 as published, classes and augmentation told, without structure (needs the files, and a GPU)",
        text: include_str!("../presets/edm-cifar10.toml"),
    },
    Preset {
        name: "edm-ffhq",
        about: "the same on FFHQ 64×64 (data.dir: a folder of PNG files or a .npz file)",
        text: include_str!("../presets/edm-ffhq.toml"),
    },
];

pub(super) fn preset_text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|p| p.name == name).map(|p| p.text)
}
