//! Any bytes are a state or an error, and a state comes back from both formats that lose nothing of
//! it.

#![no_main]

use candle_core::Tensor;
use libfuzzer_sys::fuzz_target;
use state_tune::state_file::{self, FORMATS, Format};
use state_tune::tensors::Element;
use state_tune_fuzz::{file, path};

fuzz_target!(|data: &[u8]| {
    let input = file(data);
    for format in FORMATS {
        let _ = state_file::open(&input, Some(format));
    }
    let Ok(found) = state_file::open(&input, None) else {
        return;
    };
    let (state, output) = (found.state, path("out"));
    for format in [Format::STATE, Format::RWKV_LIVE] {
        state_file::write(&output, &state, Element::F32, format, None).expect("it is finite");
        let again = state_file::open(&output, None).expect("what is written can be read");
        assert_eq!(again.format, format);
        same(&state.shifts, &again.state.shifts);
        same(&state.wkv, &again.state.wkv);
        if let Some(soft_prompt) = state
            .soft_prompt
            .as_ref()
            .filter(|_| format == Format::STATE)
        {
            let again = again.state.soft_prompt.expect("it was written");
            same(soft_prompt, &again);
        }
    }
});

fn same(a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims());
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(numbers(a) == numbers(b));
}
