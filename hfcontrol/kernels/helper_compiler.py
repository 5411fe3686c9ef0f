"""How helpers are compiled: to LLVM's code, but not to machine code.

A kernel links the code of its helpers and optimises all of it at once. Numba would
optimise every helper alone as well, and translate it to machine code, which nobody
calls. Without that a kernel compiles in about nine tenths of the time.

These are Numba's classes for a compiler of one's own, `pipeline_class`, and of its
internals the library that holds a function's code.
"""

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


class LinkedLibrary(JITCodeLibrary):
    """The code of a helper, which is part of the kernels that link it alone."""

    def _optimize_final_module(self) -> None:
        """Leave the code to the kernels, which optimise it with their own."""

    def _finalize_final_module(self) -> None:
        """Finish without machine code."""
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class HelperLowering(NativeLowering):
    """Translates a helper for the kernels that call it."""

    _name = "helper_lowering"

    def run_pass(self, state: Any) -> bool:
        """Set `state.library` to the helper's code, and let kernels call it."""
        codegen = state.targetctx.codegen()
        library = LinkedLibrary(codegen, state.func_id.func_qualname)
        state.library = library
        state.flags.no_compile = True
        super().run_pass(state)

        lowered = state["cr"]
        description = lowered.fndesc
        # Numba knows a function by such an object; this one has no address.
        module, name = description.lookup_module(), state.func_id.func_name
        text = f"the helper {name}, which only kernels call"
        entry = _dynfunc.make_function(module, name, text, 0, lowered.env, (library,))
        state.targetctx.insert_user_function(entry, description, [library])
        state.reload_init.extend(library._reload_init)
        state["cr"] = lowered._replace(cfunc=entry)
        return True


class HelperCompiler(CompilerBase):
    """Numba's compiler, with another last step."""

    def define_pipelines(self) -> list[Any]:
        """Return the passes."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        replaced = {NativeLowering: HelperLowering}
        manager.passes = [
            (replaced.get(step, step), text) for step, text in manager.passes
        ]
        manager.finalize()
        return [manager]
