"""Files in and out: images, DICOM, contours of any format, tables of cohorts."""
