// Package registry carries what was built through an OCI registry, so that a fleet
// builds once: an artefact is an image, in an index, that has the published folders of a
// result as layers. It is named by a [Key]: the kernel, the driver and its form.
//
// A layer is a tar of one published folder (package publish), whose index, the manifest,
// comes first. So who pulls knows of each file that follows what it must be, and how
// much there will be: what is not listed is refused, and each file's digest is compared as
// it streams by. The same folder is the same bytes: there are no times and no owners in
// it. The paths in the image are those where others look: modules and modprobe's indexes
// in /opt/lib/modules/RELEASE, firmware in /firmware (the Kernel Module Management
// operator's layout), the driver's user-space side in /opt/driver/VERSION.
//
// Sources: the OCI image specification 1.1 (image-spec), layers in zstd
// (application/vnd.oci.image.layer.v1.tar+zstd, RFC 8878), and the distribution
// specification 1.1, of which go-containerregistry does all that goes over the network.
package registry
