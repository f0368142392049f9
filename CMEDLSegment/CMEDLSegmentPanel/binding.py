"""The parameter node shown in the panel, and let go of without a trace."""

from __future__ import annotations

import slicer
import vtk

PROPERTY = "SlicerParameterName"


class Binding:
    """Parameters and the widgets that carry their names, connected until ``release``.

    ``parameterNodeWrapper`` goes on observing its node for as long as the node lives, and its ``connectGui`` returns
    no tag to undo it by; a panel that is opened often would leave more and more of it behind. VTK counts up the tags of
    an object's observers, so the wrapper's are the ones between a tag from before and one from after.

    Args:
        node: the scene's parameter node.
        kind: the class that ``parameterNodeWrapper`` decorates.
        ui: the panel's widgets, as ``slicer.util.childWidgetVariables`` gives them.

    Attributes:
        parameters: the node as ``kind``.
    """

    def __init__(self, node: slicer.vtkMRMLScriptedModuleNode, kind: type, ui: object) -> None:
        self.node = node
        before = self._nextTag()
        self.parameters = kind(node)
        widgets = {widget.property(PROPERTY): widget for widget in vars(ui).values() if widget.property(PROPERTY)}
        self._gui = self.parameters.connectParametersToGui(widgets)
        self._tags = range(before, self._nextTag())

    def release(self) -> None:
        """Disconnect the widgets and remove the observers that came with them."""
        self.parameters.disconnectGui(self._gui)
        self.parameters = None
        for tag in self._tags:
            self.node.RemoveObserver(tag)

    def _nextTag(self) -> int:
        """The tag that the node's next observer gets."""
        tag = self.node.AddObserver(vtk.vtkCommand.NoEvent, lambda caller, event: None)
        self.node.RemoveObserver(tag)
        return tag + 1
