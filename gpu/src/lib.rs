//! The Vulkan backend of mixlet: expert matmuls and gating on any GPU.
//!
//! Nothing is here yet; the crowd and mixture methods run on the CPU.
