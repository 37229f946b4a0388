//! Makes the library take `sync.rs` of this folder instead of its own.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(asynchat_model)");
    println!("cargo::rustc-cfg=asynchat_model");
}
