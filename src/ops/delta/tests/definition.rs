//! The gradients of the recurrence as their definitions read, in plain float64: quick enough for
//! thousands of tokens, where candle's own gradient is not.

use candle_core::{Result, Tensor};

use super::{Case, reference};

/// Gradients of r, w, kappa, a, v and the state of one head in float64, token by token as the
/// definitions read: every S is kept, and dlogw is the sum over values of G and of what the decay
/// left of S. Through the keys they are taken back by candle.
pub fn by_definition(case: &Case) -> Result<[Tensor; 6]> {
    let numbers = |x: &Tensor| x.flatten_all()?.to_vec1::<f64>();
    let keys = reference::keys(&case.delta.keys, [&case.kappa, &case.a], 1)?;
    let [kk, alpha, k] = keys.each_ref().map(|x| numbers(x).unwrap());
    let [r, w, v] = [&case.r, &case.w, &case.v].map(|x| numbers(x).unwrap());
    let (dy, dq, w0) = (
        numbers(&case.dy)?,
        numbers(&case.dq)?,
        numbers(&case.delta.decay)?,
    );
    let (bonus, start) = (numbers(&case.delta.bonus)?, numbers(&case.state)?);
    let (rows, size) = case.r.dims2()?;
    let strongest = (-0.5f64).exp();
    let mut out = [(); 6].map(|()| vec![0.0; rows * size]);
    let mut dstate = vec![0.0; size * size];
    for range in case.offsets.ranges() {
        // By token: the places of its numbers, its share of the strongest decay, and its decay.
        let places = |t: usize| (0..size).map(move |i| t * size + i).enumerate();
        let share = |i: usize, at: usize| 1.0 / (1.0 + (-w[at] - w0[i]).exp());
        let decay = |i: usize, at: usize| (-strongest * share(i, at)).exp();
        // S before each token and after the last, and each token's sa.
        let (mut states, mut removed) = (vec![start.clone()], Vec::new());
        for t in range.clone() {
            let mut s = states[t - range.start].clone();
            let mut sa = vec![0.0; size];
            for (i, at) in places(t) {
                (0..size).for_each(|j| sa[j] -= kk[at] * s[i * size + j]);
            }
            for (i, at) in places(t) {
                for (j, to) in places(t) {
                    let added = kk[at] * alpha[at] * sa[j] + k[at] * v[to];
                    s[i * size + j] = decay(i, at) * s[i * size + j] + added;
                }
            }
            states.push(s);
            removed.push(sa);
        }
        let mut g = vec![0.0; size * size];
        for t in range.clone().rev() {
            let number = t - range.start;
            let (before, after, sa) = (&states[number], &states[number + 1], &removed[number]);
            for (i, at) in places(t) {
                places(t).for_each(|(j, to)| g[i * size + j] += r[at] * dy[to]);
            }
            let mut dsa = vec![0.0; size];
            for (i, at) in places(t) {
                for (j, to) in places(t) {
                    out[3][to] += k[at] * g[i * size + j];
                    dsa[j] += kk[at] * alpha[at] * g[i * size + j];
                }
            }
            for (i, at) in places(t) {
                let sum = |f: &dyn Fn(usize) -> f64| (0..size).map(f).sum::<f64>();
                let db = sum(&|j| g[i * size + j] * sa[j]);
                let da = sum(&|j| before[i * size + j] * dsa[j]);
                let dlogw = sum(&|j| g[i * size + j] * decay(i, at) * before[i * size + j]);
                let own = dq[t] * bonus[i];
                out[0][at] = sum(&|j| after[i * size + j] * dy[t * size + j]) + own * k[at];
                out[1][at] = -strongest * share(i, at) * (1.0 - share(i, at)) * dlogw;
                out[2][at] = sum(&|j| g[i * size + j] * v[t * size + j]) + own * r[at];
                out[4][at] = alpha[at] * db - da;
                out[5][at] = kk[at] * db;
                for (j, dsa) in dsa.iter().enumerate() {
                    g[i * size + j] = decay(i, at) * g[i * size + j] - kk[at] * dsa;
                }
            }
        }
        // Before the first token G is what it asks of the state, as every sequence does.
        dstate.iter_mut().zip(&g).for_each(|(d, g)| *d += g);
    }
    let tensor = |d, shape: &[usize]| Tensor::from_vec(d, shape, case.r.device());
    let [dr, dw, dk, dv, dkk, dalpha] = out.map(|d| tensor(d, &[rows, size]).unwrap());
    let dstate = tensor(dstate, case.state.dims())?;
    let [mut loss, of_alpha, of_k] =
        [(0, dkk), (1, dalpha), (2, dk)].map(|(i, d)| (&keys[i] * d).unwrap().sum_all().unwrap());
    loss = ((loss + of_alpha)? + of_k)?;
    let gradients = loss.backward()?;
    let [d_kappa, da] = [&case.kappa, &case.a].map(|x| gradients.get(x).unwrap().clone());
    Ok([dr, dw, d_kappa, da, dv, dstate])
}
