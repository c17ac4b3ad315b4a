//! Published files by the fingerprint of their names and shapes.

/// A published file, or a size that a publication names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The fingerprint.
    pub fingerprint: &'static str,
    /// Name of the network with its size.
    pub name: &'static str,
    /// The layouts that it is of; none for one that is only named.
    pub layouts: &'static [&'static str],
    /// The side of the network's input.
    pub size: usize,
}

const DIT: &[&str] = &["dit", "sit"];
const SONG: &[&str] = &["edm-song-unet"];

const fn known(
    fingerprint: &'static str,
    name: &'static str,
    layouts: &'static [&'static str],
    size: usize,
) -> Known {
    Known {
        fingerprint,
        name,
        layouts,
        size,
    }
}

/// Everything that is known by its fingerprint.
pub const KNOWN: &[Known] = &[
    known(
        "d2a05bc963b11c77",
        "DiT-XL/2 or SiT-XL/2 for 256×256",
        DIT,
        32,
    ),
    known(
        "ba01ff24c8fdd12a",
        "DiT-XL/2 or SiT-XL/2 for 512×512",
        DIT,
        64,
    ),
    known(
        "be8702ee79e84c4a",
        "DiT-XL/4 or SiT-XL/4 for 256×256",
        DIT,
        32,
    ),
    known(
        "50cd3a4d7801e18f",
        "DiT-XL/8 or SiT-XL/8 for 256×256",
        DIT,
        32,
    ),
    known(
        "59314b9950afe88d",
        "DiT-L/2 or SiT-L/2 for 256×256",
        DIT,
        32,
    ),
    known(
        "c4a04949b3e0fc35",
        "DiT-L/4 or SiT-L/4 for 256×256",
        DIT,
        32,
    ),
    known(
        "b6ebbf6ab4b3981a",
        "DiT-L/8 or SiT-L/8 for 256×256",
        DIT,
        32,
    ),
    known(
        "15860b1ec895ec58",
        "DiT-B/2 or SiT-B/2 for 256×256",
        DIT,
        32,
    ),
    known(
        "bfec6419671a957f",
        "DiT-B/4 or SiT-B/4 for 256×256",
        DIT,
        32,
    ),
    known(
        "8d0969be68c00a22",
        "DiT-B/8 or SiT-B/8 for 256×256",
        DIT,
        32,
    ),
    known(
        "3fee7239b1e9caa1",
        "DiT-S/2 or SiT-S/2 for 256×256",
        DIT,
        32,
    ),
    known(
        "d16d82dc5b5aced9",
        "DiT-S/4 or SiT-S/4 for 256×256",
        DIT,
        32,
    ),
    known(
        "5a55b035c141aca6",
        "DiT-S/8 or SiT-S/8 for 256×256",
        DIT,
        32,
    ),
    known(
        "d2d2ac16abddaac4",
        "EDM, CIFAR-10 without classes, DDPM++ (vp)",
        SONG,
        32,
    ),
    known(
        "6c2ce61dc35aa887",
        "EDM, CIFAR-10 with classes, DDPM++ (vp)",
        SONG,
        32,
    ),
    known(
        "7d4ec07efa7bd0d8",
        "EDM, CIFAR-10 without classes, NCSN++ (ve)",
        SONG,
        32,
    ),
    known(
        "1e0b49e8cbc9378a",
        "EDM, CIFAR-10 with classes, NCSN++ (ve)",
        SONG,
        32,
    ),
    known(
        "505933aeb059e311",
        "EDM, FFHQ or AFHQv2 64×64, DDPM++ (vp)",
        SONG,
        64,
    ),
    known(
        "5da206f2859fe29d",
        "EDM, FFHQ or AFHQv2 64×64, NCSN++ (ve)",
        SONG,
        64,
    ),
    known(
        "e384a92bc2eb48e3",
        "EDM, ImageNet 64×64 with classes (adm)",
        &["edm-dhariwal-unet"],
        64,
    ),
    known("b04c039ebf4fa51a", "ADM, ImageNet 64×64", &["adm"], 64),
    known(
        "4d8a98416feafc59",
        "ADM, ImageNet 128×128",
        &["adm-legacy"],
        128,
    ),
    known(
        "6d25df057c4a258f",
        "ADM, ImageNet 256×256 with classes",
        &["adm-legacy"],
        256,
    ),
    known(
        "e56f2bfcbfafe7ba",
        "ADM, ImageNet 256×256 without classes, or LSUN",
        &["adm-legacy"],
        256,
    ),
    known(
        "bdf67b4a9ecb91a9",
        "ADM, ImageNet 512×512",
        &["adm-legacy"],
        512,
    ),
    known("27448b55fa8f023e", "ADM's classifier for 64×64", &[], 64),
    known("6a1f62205e0ad10a", "ADM's classifier for 256×256", &[], 256),
    known(
        "53cdf22229225aac",
        "the autoencoder of Stable Diffusion 1",
        &["vae-diffusers"],
        256,
    ),
    known(
        "f6f4567d236131a4",
        "the autoencoder of Stable Diffusion 1",
        &["vae-diffusers-old"],
        256,
    ),
    known(
        "14884a657dbe8bb6",
        "the autoencoder of Stable Diffusion 1",
        &["vae-compvis"],
        256,
    ),
    known(
        "a714cd81efa5bde0",
        "the encoder of the tiny autoencoder for FLUX.2",
        &["taesd-encoder"],
        256,
    ),
    known(
        "7a8ae889e1f30918",
        "the decoder of the tiny autoencoder for FLUX.2",
        &["taesd-decoder"],
        256,
    ),
    known(
        "ac6bcdb61c619758",
        "Inception of 2015-12-05 for FID",
        &["inception-fid"],
        299,
    ),
    known(
        "440071e8fee2a1bc",
        "Inception of 2015-12-05 for FID",
        &["inception-fid"],
        299,
    ),
];

/// What is known by this fingerprint.
pub fn known_by(fingerprint: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.fingerprint == fingerprint)
}
