import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import type { Product } from "./product.ts";
import { productOnCpu, tileSizes } from "./product_on_cpu.ts";
import { productOnGpu, workgroupSizes } from "./product_on_gpu.ts";
import { chooseRegisterTile } from "./register_plan.ts";
import { chooseWorkgroupTile } from "./workgroup_choice.ts";

/** Kernel for `result = scale * a·b + second + bias + addend`; bindings in the order a, b, bias, addend, second's a and b, result. */
export function productKernel(product: Product, target: KernelTarget): Kernel {
  const kernel = target.cpu && target.subgroupSize > 0
    ? productOnCpu(product, target, chooseRegisterTile(tileSizes(product, target.subgroupSize)))
    : productOnGpu(product, target, chooseWorkgroupTile(workgroupSizes(product, target), target));
  const most = target.maxWorkgroupsPerDimension;
  if (kernel.workgroups.some((count) => count > most)) {
    throw new RangeError(
      `Cannot multiply ${product.m} × ${product.k} by ${product.k} × ${product.n}: that takes ` +
        `${
          kernel.workgroups.join(" × ")
        } workgroups, the adapter runs at most ${most} along an axis; use a smaller batch`,
    );
  }
  return kernel;
}
