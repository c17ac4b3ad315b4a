//! `structural-loss` where the generated batch is almost the real one: no digits are lost where there is a form that
//! does not cancel, and the printed bound holds everywhere. Values by mpmath at 60 digits from the definition, gradients
//! by central differences of step 1e-22 at that precision.

#![expect(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "the literals are the 60-digit evaluation's first 18 digits, to be compared with it"
)]

use ndarray::{ArrayD, array};

use crate::support::{Answer, Folder, close};

/// Rounding units allowed: 3 features and 9 pairs, some dozens of operations, each with a factor Ψ − Ψ̂.
const UNITS: f64 = 256.0;

/// Exact in f64: ψ̂ = ψ + h δ with h a power of two.
fn features(h: f64) -> [(&'static str, ArrayD<f64>); 2] {
    let real = array![[0.75, -1.25, 0.5], [1.5, 0.25, -0.75], [-0.5, 1.0, 2.0]];
    let delta = array![[0.5, 0.25, -1.0], [-0.75, 1.0, 0.5], [0.25, -0.5, 1.5]];
    let generated = &real + &(delta * h);
    [
        ("real", real.into_dyn()),
        ("generated", generated.into_dyn()),
    ]
}

fn h() -> f64 {
    2.0_f64.powi(-30)
}

/// Relation, diagonal, loss, its gradients.
const NEAR: [(&str, &str, f64, [f64; 9], [f64; 9]); 4] = [
    (
        "cosine",
        "include",
        3.3292921167450175e-20,
        [
            -2.50681018408168291e-11,
            -1.87188841247310402e-12,
            3.29224317300424836e-11,
            -3.14456805325120862e-11,
            -2.82768711291699158e-11,
            -7.23169847747474776e-11,
            -4.89448868301205189e-11,
            -3.66960866817643954e-11,
            6.11182163335206797e-12,
        ],
        [
            2.50681018344310923e-11,
            1.87188844095757207e-12,
            -3.29224317347936711e-11,
            3.1445680537666753e-11,
            2.82768711256466031e-11,
            7.23169848346097798e-11,
            4.89448868129256991e-11,
            3.66960866844361587e-11,
            -6.11182163187155776e-12,
        ],
    ),
    (
        "cosine",
        "exclude",
        4.99393817511752626e-20,
        [
            -3.76021527612252437e-11,
            -2.80783261870965603e-12,
            4.93836475950637254e-11,
            -4.71685207987681293e-11,
            -4.24153066937548737e-11,
            -1.08475477162121216e-10,
            -7.34173302451807783e-11,
            -5.50441300226465931e-11,
            9.16773245002810196e-12,
        ],
        [
            3.76021527516466384e-11,
            2.80783266143635811e-12,
            -4.93836476021905066e-11,
            4.71685208065001295e-11,
            4.24153066884699047e-11,
            1.0847547725191467e-10,
            7.34173302193885487e-11,
            5.50441300266542381e-11,
            -9.16773244780733664e-12,
        ],
    ),
    (
        "inner-product",
        "include",
        3.32112207284686952e-18,
        [
            1.81090500312485763e-10,
            -2.71635749658588687e-10,
            5.43271502581830582e-10,
            1.86264514837564198e-9,
            -3.62181001739290425e-10,
            -2.01786557773722559e-9,
            1.87558019390405654e-10,
            -2.3477089918931722e-9,
            -3.3760443346495763e-9,
        ],
        [
            -1.81090500523302851e-10,
            2.71635749658588687e-10,
            -5.43271502497503748e-10,
            -1.86264514750828025e-9,
            3.62181000486434581e-10,
            2.0178655781227197e-9,
            -1.87558019450639108e-10,
            2.34770899151370144e-9,
            3.37604433785399605e-9,
        ],
    ),
    (
        "inner-product",
        "exclude",
        7.058607897824804e-19,
        [
            -1.35817875356337066e-10,
            2.71635751887226486e-10,
            5.43271503322702067e-10,
            4.65661287596859837e-10,
            -9.31322575103369493e-10,
            -1.86264514912253681e-9,
            -1.19325704812977065e-9,
            -5.72375333409000028e-10,
            8.34309806887152094e-10,
        ],
        [
            1.3581787529309194e-10,
            -2.71635751760736233e-10,
            -5.43271503702172829e-10,
            -4.65661287380019403e-10,
            9.31322574669688624e-10,
            1.86264515042357942e-9,
            1.1932570473527591e-9,
            5.72375334213116639e-10,
            -8.34309806200490717e-10,
        ],
    ),
];

fn assert_tensor(what: &str, answer: &Answer, name: &str, want: &[f64]) {
    let scale = want.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    close(
        &format!("{what} {name}"),
        &answer.tensors[name],
        want,
        UNITS,
        scale,
    );
}

#[test]
fn no_digit_is_lost_where_generated_is_almost_real() {
    let folder = Folder::new();
    for (relation, diagonal, loss, grad_real, grad_generated) in NEAR {
        let settings = [
            format!("relation={relation}"),
            format!("diagonal={diagonal}"),
        ];
        let settings = settings.each_ref().map(String::as_str);
        let answer = folder.oracle("structural-loss", &features(h()), &settings);
        let what = format!("{relation} {diagonal}");
        assert_tensor(&what, &answer, "loss", &[loss]);
        assert_tensor(&what, &answer, "grad_real", &grad_real);
        assert_tensor(&what, &answer, "grad_generated", &grad_generated);
        let bound = answer.json["bounds"]["loss"].as_f64().expect("a bound");
        let off = (answer.json["scalars"]["loss"].as_f64().expect("a loss") - loss).abs();
        assert!(off <= bound && bound < 1e-3 * loss, "{what}: {off} {bound}");
    }
}

/// Rows of other lengths, and rows apart: the difference of unit rows is formed in another way, and must be the same.
#[test]
fn cosine_keeps_its_value_for_rows_of_any_length() {
    let folder = Folder::new();
    let [real, (_, generated)] = features(1.0);
    let loss = |inputs: &[(&str, ArrayD<f64>)], settings: &[&str]| {
        let answer = folder.oracle("structural-loss", inputs, settings);
        answer.json["scalars"]["loss"].as_f64().expect("a loss")
    };
    let plain = loss(&[real.clone(), ("generated", generated.clone())], &[]);
    for scale in [1e-200, 1e-3, 1e3, 1e200, 4e307] {
        let scaled = [real.clone(), ("generated", &generated * (scale / 4.0))];
        let got = loss(&scaled, &["eta=1"]);
        assert!(
            (got - plain).abs() <= 64.0 * f64::EPSILON,
            "{scale:e}: {got} {plain}"
        );
    }
}

/// Losses by mpmath at ψ̂ = ψ + 2⁻³⁰ δ; the forms cancel, and the bound says by how much.
#[test]
fn where_digits_are_lost_the_bound_says_how_many() {
    let folder = Folder::new();
    let cases = CANCELLING;
    for (relation, distance, loss) in cases {
        let settings = [
            format!("relation={relation}"),
            format!("distance={distance}"),
        ];
        let settings = settings.each_ref().map(String::as_str);
        let answer = folder.oracle("structural-loss", &features(h()), &settings);
        let got = answer.json["scalars"]["loss"].as_f64().expect("a loss");
        let bound = answer.json["bounds"]["loss"].as_f64().expect("a bound");
        assert!(
            (got - loss).abs() <= bound,
            "{relation} {distance}: {got} {loss} {bound}"
        );
        assert!(bound < 1e-3 * loss, "{relation} {distance}: {bound}");
    }
}

/// Relation, distance, loss.
const CANCELLING: [(&str, &str, f64); 6] = [
    ("squared-euclidean", "squared", 6.65278500255781574e-18),
    ("euclidean", "squared", 2.50196116846015103e-19),
    ("rbf", "squared", 7.06153087251980708e-21),
    ("cosine", "absolute", 1.19048430832152979e-10),
    ("inner-product", "huber", 1.66056103642343476e-18),
    ("euclidean", "absolute", 3.54253443797143895e-10),
];
