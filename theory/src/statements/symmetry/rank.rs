//! The rank of a matrix of whole numbers.

/// A prime: ranks modulo it are at most the rank, and fall short only if it divides a minor.
const PRIME: u64 = 2_147_483_647;

/// a^{−1} modulo the prime, as a^{p−2} (Fermat).
fn inverse(a: u64) -> u64 {
    let (mut power, mut base, mut left) = (1, a, PRIME - 2);
    while left > 0 {
        if left % 2 == 1 {
            power = power * base % PRIME;
        }
        base = base * base % PRIME;
        left /= 2;
    }
    power
}

/// Rank of a matrix of whole numbers by elimination modulo the prime.
pub fn rank(mut rows: Vec<Vec<u64>>) -> usize {
    let columns = rows.first().map_or(0, Vec::len);
    let mut rank = 0;
    for column in 0..columns {
        let Some(pivot) = (rank..rows.len()).find(|&r| rows[r][column] != 0) else {
            continue;
        };
        rows.swap(rank, pivot);
        let (above, below) = rows.split_at_mut(rank + 1);
        let top = &above[rank];
        let unit = inverse(top[column]);
        for row in below {
            let factor = row[column] * unit % PRIME;
            for (x, &t) in row.iter_mut().zip(top) {
                *x = (*x + (PRIME - factor) * t) % PRIME;
            }
        }
        rank += 1;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_as_by_hand() {
        assert_eq!(rank(vec![vec![1, 2, 3], vec![2, 4, 6], vec![0, 0, 5]]), 2);
        assert_eq!(rank(vec![vec![0, 1], vec![1, 0], vec![1, 1]]), 2);
        assert_eq!(rank(vec![vec![0; 3]; 3]), 0);
        assert_eq!(3 * inverse(3) % PRIME, 1);
    }
}
